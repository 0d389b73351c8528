"""Probes report what a slow, obvious look at the network finds."""

import pytest
import torch
from torch import Tensor, nn

from trainatlas.model.activations import ACTIVATIONS, maximum_slope
from trainatlas.model.architectures import build_network
from trainatlas.model.normalisation import NORMALISATIONS
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore, epoch_order, probe_rows
from trainatlas.train.probes import DEAD_SLOPE, SATURATED_SLOPE, layers_of
from trainatlas.train.reference import train_reference
from trainatlas.train.stack import Stack

CPU = torch.device("cpu")
WIDTH = 10
Statistics = dict[str, dict[str, float]]

# Biases that put a unit's input so far out that its slope is nil; an activation without one never dies.
FAR_OUT = {"relu": -1e3, "elu": -1e3, "selu": -1e3, "gelu": -1e3, "silu": -1e3, "mish": -1e3, "softplus": -1e3,
           "softsign": 1e6, "tanh": 1e3, "scaled_tanh": -1e3, "sigmoid": -1e3, "hardtanh": 1e3, "hardsigmoid": -1e3,
           "hardswish": -1e3}  # fmt: skip
# ... and those of a unit that is steep on every example, its weights being zero.
STEEP = dict.fromkeys(ACTIVATIONS, 1.0) | {"tanh": 0.0, "sigmoid": 0.0, "softsign": 0.0, "hardtanh": 0.5}
NEVER_DIE = ["leaky_relu", "prelu", "maxout", "soft_exponential", "identity"]
FLAT = [{"group": "group(groups=5)"}.get(level, level) for level in NORMALISATIONS if level != "instance"]


def trial(**changes: object) -> Trial:
    values = {
        "data": "digits",
        "network": f"mlp(depth=2, width={WIDTH})",
        "activation": "relu",
        "init": "kaiming_normal",
        "normalisation": "none",
        "optimizer": "sgd",
        "preprocessing": "standardize",
        "learning_rate": 0.1,
        "batch_size": 64,
        "epochs": 1,
        "seed": 0,
    }
    return Trial(**values | changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def store() -> ExampleStore:
    return ExampleStore(CPU, torch.float64)


def probe_set(part: Tensor) -> Tensor:
    return part[probe_rows(len(part))]


def network_of(stack: Stack, position: int) -> nn.Module:
    """The trial at `position` as an ordinary module with its present parameters and buffers."""
    lead = stack.trials[0]
    network = build_network(lead.network, lead.activation, lead.normalisation, stack.examples.shape, 10).double()
    network.load_state_dict(
        {name: value[position] for name, value in (stack.parameters | stack.buffers).items()}, strict=True
    )
    return network.eval()


def looked_at(network: nn.Module, activation: str, x: Tensor) -> Statistics:
    """Walk through the layers one by one, differentiate every activation by autograd, and count."""
    largest = maximum_slope(activation)
    found: Statistics = {}
    z = x.flatten(1)
    for i, layer in enumerate(network.get_submodule("hidden").children()):
        before = layer.get_submodule("normalisation")(layer.get_submodule("linear")(z)).detach().requires_grad_()
        z = layer.get_submodule("activation")(before)
        (slope,) = torch.autograd.grad(z.sum(), before)
        slope = slope.reshape(*z.shape, -1).sum(-1)  # a maxout unit's pieces together
        z = z.detach()
        dead = [bool((slope[:, unit].abs() < DEAD_SLOPE * largest).all()) for unit in range(slope.shape[1])]
        found[f"hidden.{i}"] = {
            "activation_mean": z.mean().item(),
            "activation_std": z.std(unbiased=False).item(),
            "dead_fraction": sum(dead) / len(dead),
            "saturated_fraction": (slope.abs() < SATURATED_SLOPE * largest).double().mean().item(),
        }
    z = network.get_submodule("output")(z).detach()
    found["output"] = {"activation_mean": z.mean().item(), "activation_std": z.std(unbiased=False).item()}
    return found


def assert_same(stack: Stack, statistics: dict[str, dict[str, Tensor]], networks: list[nn.Module]) -> None:
    for i, (one, network) in enumerate(zip(stack.trials, networks, strict=True)):
        variant = ExampleStore(CPU, torch.float64).variant(one)
        expected = looked_at(network, one.activation, probe_set(variant.x["train"]))
        assert set(statistics) == set(expected)
        for layer, values in expected.items():
            ours = {key: column[i].item() for key, column in statistics[layer].items()}
            assert ours == pytest.approx(values, rel=1e-7, abs=1e-9), (one, layer)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("normalisation", ["none", "batch", "layer", "weight"])
def test_statistics_are_those_of_a_walk_through_the_layers(
    activation: str, normalisation: str, store: ExampleStore
) -> None:
    """On trained networks, from small and from very large initial weights, so that units saturate and die."""
    rates = {"kaiming_normal": 0.1, "normal(std=1.0)": 0.01, "normal(std=100.0)": 1e-8}
    if activation == "soft_exponential":
        rates = {"kaiming_normal": 1e-4, "normal(std=0.1)": 1e-4}  # larger ones leave its domain or range
    trials = [
        trial(activation=activation, normalisation=normalisation, init=init, learning_rate=rate)
        for init, rate in rates.items()
    ]
    stack = Stack(trials, store, CPU, torch.float64)
    stack.train_epoch(1)
    assert_same(stack, stack.probe()[1], [network_of(stack, i) for i in range(len(trials))])


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_an_untrained_batch_normalisation_is_probed_with_the_statistics_of_the_training_part(
    activation: str, store: ExampleStore
) -> None:
    trials = [trial(activation=activation, normalisation="batch", init=init) for init in ("kaiming_normal", "normal")]
    stack = Stack(trials, store, CPU, torch.float64)
    untouched = {name: value.clone() for name, value in stack.buffers.items()}
    networks = [network_of(stack, i) for i in range(len(trials))]
    for network, one in zip(networks, trials, strict=True):
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.momentum = None  # torch's word for: the plain mean over all batches seen, here one
        network.train()(probe_set(store.variant(one).x["train"]))
        network.eval()
    assert_same(stack, stack.probe(untrained=True)[1], networks)
    for name, value in stack.buffers.items():
        assert torch.equal(value, untouched[name]), "a look changes nothing"


@pytest.mark.parametrize("activation", FAR_OUT)
@pytest.mark.parametrize("dead", [0, 3, WIDTH])
def test_units_that_are_known_to_be_dead_are_counted(activation: str, dead: int, store: ExampleStore) -> None:
    stack = Stack([trial(activation=activation)] * 2, store, CPU, torch.float64)
    for i in range(2):
        stack.parameters[f"hidden.{i}.linear.weight"].zero_()
        stack.parameters[f"hidden.{i}.linear.bias"][:] = STEEP[activation]
    stack.parameters["hidden.1.linear.bias"][0, :dead] = FAR_OUT[activation]
    statistics = stack.probe()[1]
    assert statistics["hidden.0"]["dead_fraction"].tolist() == [0.0, 0.0]
    assert statistics["hidden.0"]["saturated_fraction"].tolist() == [0.0, 0.0]
    assert statistics["hidden.1"]["dead_fraction"].tolist() == pytest.approx([dead / WIDTH, 0.0])
    assert statistics["hidden.1"]["saturated_fraction"].tolist() == pytest.approx([dead / WIDTH, 0.0])


def test_a_unit_that_lives_on_one_example_is_not_dead_but_saturated_on_the_others(store: ExampleStore) -> None:
    one = trial(preprocessing="raw", network=f"mlp(depth=1, width={WIDTH})")
    stack = Stack([one], store, CPU, torch.float64)
    x = probe_set(store.variant(one).x["train"]).flatten(1)
    chosen = int(x.norm(dim=1).argmax())  # farthest out along its own direction
    direction = x[chosen] / x[chosen].norm()
    highest, second = (x @ direction).sort(descending=True).values[:2].tolist()
    stack.parameters["hidden.0.linear.weight"][0] = direction
    stack.parameters["hidden.0.linear.bias"][0] = -(highest + second) / 2
    statistics = stack.probe()[1]["hidden.0"]
    assert statistics["dead_fraction"].item() == 0.0
    assert statistics["saturated_fraction"].item() == pytest.approx(1 - 1 / len(x))


@pytest.mark.parametrize("activation", NEVER_DIE)
def test_an_activation_that_slopes_everywhere_never_dies(activation: str, store: ExampleStore) -> None:
    stack = Stack([trial(activation=activation)], store, CPU, torch.float64)
    stack.parameters["hidden.0.linear.bias"][:] = -1e6
    assert stack.probe()[1]["hidden.0"]["dead_fraction"].item() == 0.0


def test_a_periodic_activation_dies_only_where_it_happens_to_be_flat(store: ExampleStore) -> None:
    stack = Stack([trial(activation="cos")], store, CPU, torch.float64)
    stack.parameters["hidden.0.linear.bias"][:] = -1e6
    assert stack.probe()[1]["hidden.0"]["dead_fraction"].item() == 0.0
    stack.parameters["hidden.0.linear.weight"].zero_()
    stack.parameters["hidden.0.linear.bias"][:] = 0.0
    assert stack.probe()[1]["hidden.0"]["dead_fraction"].item() == 1.0


def test_all_units_of_a_binary_step_are_dead(store: ExampleStore) -> None:
    statistics = Stack([trial(activation="binary_step")], store, CPU, torch.float64).probe()[1]["hidden.0"]
    assert (statistics["dead_fraction"].item(), statistics["saturated_fraction"].item()) == (1.0, 1.0)


@pytest.mark.parametrize("normalisation", ["none", "batch", "batch(position=after)"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "maxout"])
def test_convolutions_are_probed_channel_by_channel(activation: str, normalisation: str, store: ExampleStore) -> None:
    """A channel is dead when it is flat at every pixel of every example."""
    network = "cnn(depth=2, width=4)"
    stack = Stack(
        [trial(activation=activation, normalisation=normalisation, network=network)], store, CPU, torch.float64
    )
    stack.train_epoch(1)
    found = stack.probe()[1]
    module = build_network(network, activation, normalisation, (1, 8, 8), 10).double()
    module.load_state_dict({name: value[0] for name, value in (stack.parameters | stack.buffers).items()})
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for path, part in module.eval().named_modules():
        if path.endswith("activation"):

            def note(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, path: str = path) -> None:
                before = inputs[0].detach().requires_grad_()
                with torch.enable_grad():
                    (slope,) = torch.autograd.grad(part.forward(before).sum(), before)
                seen[path] = (output, slope.reshape(len(slope), output.shape[1], -1, *output.shape[2:]).sum(2))

            part.register_forward_hook(note)
    with torch.no_grad():
        module(probe_set(store.variant(stack.trials[0]).x["train"]))
    assert len(seen) == 2
    for path, (output, slope) in seen.items():
        columns = found[path.removesuffix(".activation")]
        steep = slope.abs().transpose(0, 1).flatten(1)
        dead = (steep < DEAD_SLOPE * maximum_slope(activation)).all(1).double().mean()
        saturated = (steep < SATURATED_SLOPE * maximum_slope(activation)).double().mean()
        assert columns["dead_fraction"].item() == pytest.approx(dead.item())
        assert columns["saturated_fraction"].item() == pytest.approx(saturated.item())
        assert columns["activation_mean"].item() == pytest.approx(output.mean().item(), rel=1e-7, abs=1e-9)
        assert columns["activation_std"].item() == pytest.approx(output.std(unbiased=False).item(), rel=1e-7)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("normalisation", FLAT)
def test_gradient_norm_and_update_ratio_are_those_of_one_plain_step(
    optimizer: str, normalisation: str, store: ExampleStore
) -> None:
    trials = [trial(optimizer=optimizer, normalisation=normalisation, seed=seed) for seed in (0, 1)]
    stack = Stack(trials, store, CPU, torch.float64)
    before = [network_of(stack, i) for i in range(2)]
    _, movement, _ = stack.train_epoch(1)
    for i, (one, network) in enumerate(zip(trials, before, strict=True)):
        variant = store.variant(one)
        rows = epoch_order(one.seed, 1, len(variant.y["train"]))[:64]
        network.train()
        loss = nn.functional.cross_entropy(network(variant.x["train"][rows]), variant.y["train"][rows])
        loss.backward()  # type: ignore[no-untyped-call]
        after = train_reference(one, store, 1, torch.float64).network
        for layer in layers_of(network):
            weight = network.get_parameter(layer.weight)
            update = after.get_parameter(layer.weight) - weight
            assert weight.grad is not None
            assert movement.gradient_norm[layer.name][i].item() == pytest.approx(weight.grad.norm().item(), rel=1e-9)
            ratio = update.norm().item() / weight.norm().item()
            assert movement.update_to_weight_ratio[layer.name][i].item() == pytest.approx(ratio, rel=1e-9)


def test_layers_are_found_in_order_with_the_activation_that_follows() -> None:
    network = build_network("mlp(depth=2, width=4)", "relu", "batch", (1, 8, 8), 10)
    layers = layers_of(network)
    assert [(layer.name, layer.activation) for layer in layers] == [
        ("hidden.0", "hidden.0.activation"),
        ("hidden.1", "hidden.1.activation"),
        ("output", None),
    ]
    for layer in layers:
        assert network.get_parameter(layer.weight).dim() == 2
