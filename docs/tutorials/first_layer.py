# %% [markdown]
# # A first layer
#
# A network assigns six couriers to six parcels. The network never sees what an
# assignment costs. For some days it sees which assignment was the best. We train the
# network *through* the assignment solver.
#
# The solver is SciPy's. The solver takes a matrix of costs and returns a matrix of 0
# and 1: 1 if a courier gets a parcel.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

import difflayers


def assignment(costs):
    solution = np.zeros_like(costs)
    solution[linear_sum_assignment(costs)] = 1
    return solution


# %% [markdown]
# ## Data
#
# Every courier and every parcel has a position in the plane. The effort grows with the
# square of the distance. The network has to find out that going east or west is four
# times as hard as going north or south, because the city lies on steep ridges.

# %%
rng = np.random.default_rng(0)
days, couriers = 200, 6
positions = rng.normal(size=(days, 2, couriers, 2))  # of couriers and of parcels
gaps = (
    positions[:, 0, :, None] - positions[:, 1, None]
) ** 2  # (days, 6, 6, 2): east-west and north-south
best = np.stack([assignment(gap @ [4.0, 1.0]) for gap in gaps])

features = torch.tensor(gaps, dtype=torch.float32)
wanted = torch.tensor(best, dtype=torch.float32)
train, test = slice(0, 100), slice(100, 200)

# %% [markdown]
# ## The layer
#
# `BlackboxLayer` makes the solver differentiable. The layer has one parameter, the
# scale λ. `diagnose` tries a range of λ on one batch and says how many solutions each λ
# changes. If λ is too small, the gradient is zero. If λ is too large, the costs no
# longer matter.

# %%
model = torch.nn.Linear(2, 1, bias=False)
torch.nn.init.ones_(model.weight)  # as if all directions were equally hard
layer = difflayers.BlackboxLayer(assignment)


def loss(assigned):
    return (assigned - wanted[train]).abs().mean()


costs = model(features[train]).squeeze(-1)
found = difflayers.diagnose(layer, costs, loss=loss)
print(found)

# %%
figure = found.plot()

# %% [markdown]
# We draw several λ from the suggested range at each step.
#
# ## Training
#
# The rest is an ordinary training loop: the network predicts costs, the layer returns
# the assignment, and the loss counts the wrong entries.

# %%
layer.scales = difflayers.UniformScales(*found.suggested, samples=3, seed=0)
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
errors = []
for _ in range(60):
    optimizer.zero_grad()
    value = loss(layer(model(features[train]).squeeze(-1)))
    value.backward()
    optimizer.step()
    errors.append(value.item())

# %%
fig, axes = plt.subplots(figsize=(6, 3))
axes.plot(errors)
axes.set(xlabel="step", ylabel="share of wrong entries", title="training")

# %% [markdown]
# ## What it learned
#
# Only the ratio of the two weights matters to an assignment. The true ratio is 4.

# %%
east, north = model.weight.detach()[0].tolist()
print(f"east or west is {east / north:.1f} times as hard as north or south")

with torch.no_grad():
    right = (
        (layer(model(features[test]).squeeze(-1)) == wanted[test])
        .all(dim=(1, 2))
        .float()
        .mean()
    )
    before = (
        (layer(features[test].sum(-1)) == wanted[test]).all(dim=(1, 2)).float().mean()
    )
print(f"unseen days that are exactly right: {before:.0%} before, {right:.0%} after")
assert right > before

# %% [markdown]
# Next: [wrap your own solver](../wrap-your-solver.md) shows what else a layer can do,
# and [how to choose](../how-to-choose.md) says when another estimator or a loss is the
# better choice.
