# %% [markdown]
# # From a multiway cut to panoptic training
#
# A street scene has three classes: sky, road and car. Two of the cars touch. First we
# solve an asymmetric multiway cut with noisy costs, as a network would predict them.
# Then we train the costs *through* the solver, with panoptic quality itself as the
# loss.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from difflayers import UniformScales, amwc, graph, panoptic
from difflayers.amwc import draw as draw_cut

NAMES = ["sky", "road", "car"]
IS_THING = np.array([False, False, True])
COLORS = [(120, 170, 220), (110, 110, 115), (190, 60, 50)]
SHAPE = height, width = 24, 40

segments = np.zeros(SHAPE, np.int32)  # 0 is the sky
segments[12:] = 1  # the road
segments[9:16, 5:13], segments[9:16, 13:22] = 2, 3  # two cars that touch
segments[15:22, 27:37] = 4  # and one of its own
truth = panoptic.PanopticLabels(segments, classes=np.array([0, 1, 2, 2, 2]))
figure = panoptic.draw.show(truth, IS_THING, NAMES, colors=COLORS)

# %% [markdown]
# ## Costs
#
# There is a node cost per class and pixel, and an edge cost per pair of pixels. A
# positive edge cost holds two pixels together, a negative one pushes them apart. Both
# are noisy, and the boundary between the touching cars is weak.

# %%
rng = np.random.default_rng(1)
semantic = truth.semantic()
node_costs = 0.8 * (semantic.ravel()[:, None] != np.arange(3)) + 0.4 * rng.normal(
    size=(height * width, 3)
)
edges = graph.grid_edges(SHAPE, distances=[1, 4])
same = segments.ravel()[edges[:, 0]] == segments.ravel()[edges[:, 1]]
edge_costs = np.where(same, 0.5, -0.4) + 0.4 * rng.normal(size=len(edges))
problem = amwc.AMWC(node_costs, edges, edge_costs, partitionable=IS_THING)
figure = draw_cut.show_problem(problem, SHAPE, COLORS)

# %% [markdown]
# The cheapest class of every pixel is a noisy picture, and does not tell one car from
# another. The multiway cut decides about all pixels and all boundaries at once. It
# splits the cars where the cuts say so, and finds out itself how many cars there are.

# %%
solution = amwc.solve(problem)
bound = amwc.lower_bound(problem)
print(f"cost {solution.cost:.1f}, and no solution costs less than {bound:.1f}")
labels = panoptic.from_solution(solution.labels, solution.segments, SHAPE)
print(f"{(labels.classes == 2).sum()} segments of the class car")

fig, axes = plt.subplots(1, 2, figsize=(9, 3))
axes[0].imshow(np.array(COLORS)[node_costs.argmin(1)].reshape(*SHAPE, 3))
axes[0].set_title("cheapest class of every pixel", fontsize=10)
axes[0].set_axis_off()
draw_cut.show_solution(problem, solution, SHAPE, COLORS, axes=axes[1])

# %% [markdown]
# ## Training through it
#
# Now the costs are parameters. At the start, nothing says that the touching cars are
# two. `PanopticLayer` solves the same problem in the forward pass. In the backward pass
# it perturbs every segment on its own (Algorithm 1 of COPS). The loss is a smooth
# panoptic quality (Eq. 6).

# %%
classes = torch.tensor(semantic)
nodes = torch.where(classes == torch.arange(3)[:, None, None], -1.0, 1.0)[
    None
].requires_grad_()
vertical = torch.full((1, height - 1, width), 0.2, requires_grad=True)
horizontal = torch.full((1, height, width - 1), 0.2, requires_grad=True)

layer = panoptic.PanopticLayer(
    IS_THING, distances=[1], scales=UniformScales(10, 1000, samples=5)
)
criterion = panoptic.SoftPanopticQualityLoss(
    IS_THING, thing_area=20, stuff_area=20, pixel_area=1
)
optimizer = torch.optim.SGD([nodes, vertical, horizontal], lr=20.0)
seen, soft, exact = [], [], []
for _ in range(40):
    optimizer.zero_grad()
    output = layer(nodes, [(vertical, horizontal)], [truth])
    loss = criterion(output.masks, [truth])
    loss.backward()
    optimizer.step()
    quality = panoptic.PanopticQuality(3, IS_THING)
    quality.update(output.labels[0], truth)
    seen.append(output.labels[0])
    soft.append(1 - loss.item())
    exact.append(quality.compute().pq)
print(f"panoptic quality: {exact[0]:.2f} before, {exact[-1]:.2f} after")
assert exact[-1] > exact[0]

# %%
fig, axes = plt.subplots(1, 3, figsize=(11, 2.8), layout="constrained")
for panel, step in zip(axes, (0, -1), strict=False):
    panoptic.draw.show(seen[step], IS_THING, NAMES, colors=COLORS, axes=panel)
    panel.set_title("before" if step == 0 else "after", fontsize=10)
axes[2].plot(soft, label="soft (Eq. 6)")
axes[2].plot(exact, label="exact")
axes[2].set(xlabel="step", title="panoptic quality")
axes[2].legend()

# %% [markdown]
# In COPS a network predicts these costs, and the gradient goes on into the network. See
# [panoptic training](../panoptic.md), and `examples/cops` for the whole pipeline.
