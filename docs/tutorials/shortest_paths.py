# %% [markdown]
# # Shortest paths on drawn maps
#
# A small network sees a picture of a landscape and has to find the cheapest way from
# the upper left to the lower right corner. The network is never told what water, forest
# or meadow cost. It only sees pictures and the cheapest path on each of them. This is
# the task of the Warcraft maps of Vlastelica et al. (2020), on maps that we draw
# ourselves.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import difflayers
from difflayers import solvers

SIDE, PIXELS = 10, 4  # cells a side, and pixels of the picture a cell
COSTS = np.array([1.0, 2.5, 6.0])  # meadow, forest, water
DOTS = {"marker": "o", "ls": "", "ms": 4, "mfc": "white", "mec": "black"}
COLORS = np.array([[0.55, 0.75, 0.35], [0.15, 0.40, 0.20], [0.20, 0.40, 0.75]])


def draw_map(rng):
    """A terrain of smooth patches, and a noisy picture of it."""
    coarse = rng.normal(size=(4, 4)).repeat(3, 0).repeat(3, 1)[:SIDE, :SIDE]
    terrain = np.digitize(coarse + 0.3 * rng.normal(size=(SIDE, SIDE)), [0.1, 0.8])
    picture = COLORS[terrain].repeat(PIXELS, 0).repeat(PIXELS, 1)
    picture = picture * rng.uniform(0.7, 1.3) + 0.12 * rng.normal(
        size=picture.shape
    )  # light and grain
    return terrain, picture.clip(0, 1)


# %% [markdown]
# The solver comes with the library: Dijkstra on a grid, for whole batches.
# `clip_negative=True` is for the perturbed problem of the backward pass, in which a
# cell may have a negative cost.

# %%
rng = np.random.default_rng(0)
terrains, pictures = map(
    np.stack, zip(*[draw_map(rng) for _ in range(300)], strict=True)
)
solver = solvers.GridShortestPath((SIDE, SIDE), neighbours=8, clip_negative=True)
true_costs = torch.tensor(COSTS[terrains], dtype=torch.float32)
paths = torch.tensor(solver(COSTS[terrains]), dtype=torch.float32)
images = torch.tensor(pictures, dtype=torch.float32).permute(0, 3, 1, 2)
train, test = slice(0, 200), slice(200, 300)

fig, axes = plt.subplots(1, 4, figsize=(9, 2.5))
for index, panel in enumerate(axes):
    panel.imshow(pictures[index])
    row, column = np.nonzero(paths[index].numpy())
    panel.plot((column + 0.5) * PIXELS, (row + 0.5) * PIXELS, **DOTS)
    panel.set_axis_off()
fig.suptitle("maps, and the cheapest paths on them")

# %% [markdown]
# ## Two ways to train
#
# One way is a **layer**, with the Hamming distance of the two paths as loss. The other
# is a **loss** that is made for imitating solutions, perturbed Fenchel–Young. Both use
# the same network (a few convolutions, with a softplus that keeps costs positive), the
# same data and the same number of steps.


# %%
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, PIXELS, stride=PIXELS), nn.ReLU(),
        nn.Conv2d(16, 16, 1), nn.ReLU(),
        nn.Conv2d(16, 1, 1), nn.Softplus(), nn.Flatten(0, 1),  # (B, 10, 10)
    )  # fmt: skip


layer = difflayers.BlackboxLayer(
    solver, scales=difflayers.UniformScales(5, 50, samples=3), batched=True
)
fenchel_young = difflayers.losses.FenchelYoungLoss(
    solver, sigma=0.3, samples=5, batched=True
)


def hamming(costs, wanted):
    return (layer(costs) - wanted).abs().sum(dim=(1, 2)).mean()


def imitation(costs, wanted):
    return fenchel_young(costs, true_solutions=wanted)


def fit(criterion):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    regret = []
    for epoch in range(25):
        for batch in torch.randperm(
            200, generator=torch.Generator().manual_seed(epoch)
        ).split(25):
            optimizer.zero_grad()
            criterion(model(images[train][batch]), paths[train][batch]).backward()
            optimizer.step()
        with torch.no_grad():
            predicted = model(images[test])
        regret.append(
            difflayers.functional.normalized_regret(
                solver,
                predicted,
                true_costs=true_costs[test],
                true_solutions=paths[test],
                batched=True,
            )
        )
    return model, regret


# %% [markdown]
# The **regret** is how much longer the found path is than the shortest one, on maps
# that the network has not seen.

# %%
fig, axes = plt.subplots(figsize=(6, 3))
models = {}
for name, criterion in [("blackbox layer", hamming), ("Fenchel–Young loss", imitation)]:
    models[name], regret = fit(criterion)
    axes.plot(range(1, 26), 100 * np.array(regret), label=name)
    first, last = 100 * regret[0], 100 * regret[-1]
    print(f"{name}: regret {first:.1f} % after one epoch, {last:.1f} % in the end")
    assert regret[-1] < regret[0]
axes.set(xlabel="epoch", ylabel="regret on unseen maps in %", yscale="log")
axes.legend()

# %% [markdown]
# ## What the network sees
#
# The network has learned costs from paths alone: water is dear, meadows are cheap. The
# scale of the costs is free, because twice the costs have the same shortest path.

# %%
fig, axes = plt.subplots(1, 4, figsize=(10, 2.7), layout="constrained")
index = 203
with torch.no_grad():
    maps = {name: model(images[[index]])[0].numpy() for name, model in models.items()}
axes[0].imshow(pictures[index])
axes[0].set_title("map", fontsize=10)
for panel, (name, values) in zip(
    axes[1:], {"true costs": true_costs[index].numpy(), **maps}.items(), strict=True
):
    panel.imshow(values, cmap="viridis")
    row, column = np.nonzero(solver(values[None])[0])
    panel.plot(column, row, **DOTS)
    panel.set_title(name, fontsize=10)
for panel in axes:
    panel.set_axis_off()

# %% [markdown]
# One seed and drawn maps say little about which way is better in general. [How to
# choose](../how-to-choose.md) shows what was measured over several seeds.
