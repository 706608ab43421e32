"""Settings in files."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import get_type_hints

import pytest

from examples.cops.config import DRAWN, REAL, Config, Data, Network, Rejection, Training, Widths
from examples.cops.data import DrawnScenes
from examples.cops.data.batches import Crops
from examples.cops.run import options
from examples.cops.run.settings import SETTINGS, from_fields, load, names


def write(tmp_path: Path, text: str, name: str = "a.toml") -> Path:
    (tmp_path / name).write_text(text)
    return tmp_path / name


def files(data: str) -> list[Path]:
    return sorted(SETTINGS.glob(f"{data}.*.toml"))


def test_there_are_two_files_for_each_of_the_papers_data_sets() -> None:
    assert names() == ["cityscapes", "coco"]
    assert [path.name for path in files("coco")] == ["coco.stage1.toml", "coco.stage2.toml"]


def test_cityscapes_has_the_papers_numbers() -> None:
    config = load(files("cityscapes"))
    one, two = config.stage1, config.stage2
    assert (config.data.size, config.rejection) == ((512, 1024), Rejection(200, 2048))
    assert config.network.distances == (1, 4, 16, 32, 64, 128)
    assert (one.iterations, one.batch, one.learning_rate) == (250_000, 12, 1e-3)
    assert (two.iterations, two.batch, two.warm_up) == (3_000, 24, 500)
    assert two.decay_iterations == 20_000
    assert (config.solver.scales, config.solver.samples, config.loss.weight) == ((1, 5000), 5, 10)
    assert config.network == Network("resnet50", "deeplab", (1, 4, 16, 32, 64, 128), Widths())


def test_coco_has_the_papers_numbers() -> None:
    config = load(files("coco"))
    one, two = config.stage1, config.stage2
    assert (config.data.size, config.rejection) == ((640, 640), Rejection(200, 4096))
    assert config.network.distances == (1, 4, 16, 32, 64)
    assert (one.iterations, one.batch) == (240_000, 48)
    assert (two.iterations, two.batch, two.learning_rate) == (10_000, 24, 1e-4)
    assert (config.solver.scales, config.loss.weight) == ((1000, 5000), 100)


def test_random_scales_and_hardest_pairs_are_the_authors() -> None:
    coco, cityscapes = load(files("coco")), load(files("cityscapes"))
    assert coco.data.short_sides == tuple(int(0.1 * tenths * 640) for tenths in range(5, 16))
    assert coco.stage2.short_sides == tuple(int(0.1 * tenths * 640) for tenths in range(7, 13))
    assert (coco.data.longest_side, cityscapes.data.longest_side) == (960, 4096)
    assert (min(cityscapes.data.short_sides), max(cityscapes.data.short_sides)) == (512, 2048)
    assert coco.stage1.affinity_of == cityscapes.stage1.affinity_of == "map"
    scenes = DrawnScenes("train", 0, 1)
    scales = [Crops(scenes, coco, stage, 1).scale for stage in (1, 2, 3)]
    assert scales[1].choices == coco.stage2.short_sides  # type: ignore[union-attr]
    assert scales[0] == scales[2] == (coco.data.short_sides, 960)


@pytest.mark.parametrize("data", ["cityscapes", "coco"])
def test_every_value_of_a_settings_file_has_its_source(data: str) -> None:
    for path in files(data):
        for line in path.read_text().splitlines():
            if "=" in line.split("#")[0]:
                assert line.rstrip().endswith("]"), line
                assert any(source in line for source in ("[P ", "[A", "[D]", "[ours]")), line


def test_tables_are_those_of_the_dataclasses_and_lists_become_tuples(tmp_path: Path) -> None:
    text = "[training]\nseed = 3\n[data]\nsize = [64, 96]\n[rejection]\nstuff_area = 7\n"
    config = load([write(tmp_path, text + "[network.widths]\naspp = 8\n")])
    assert config == Config(
        data=Data(size=(64, 96)),
        network=Network(widths=Widths(aspp=8)),
        rejection=Rejection(stuff_area=7.0),
        training=Training(seed=3),
    )
    assert isinstance(config.rejection.stuff_area, float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[stage1]\nbach = 3", r"a\.toml: stage1\.bach is no setting; there are affinity_fraction, "),
        ("[stage3]\nbatch = 3", r"a\.toml: stage3 is no setting; there are data, inference, "),
        ("seed = 3", r"a\.toml: seed is no setting; there are data, inference, "),
        ("training = 3", "training must be a table, got 3"),
        ("[network.widths]\nasp = 3", r"a\.toml: network\.widths\.asp is no setting; there are aspp, "),
        ("[network]\nwidths = 3", r"network\.widths must be a table, got 3"),
        ("[stage1]\nbatch = 3.5", r"stage1\.batch must be int, got 3.5"),
        ("[stage1]\nbatch = true", r"stage1\.batch must be int, got True"),
        ("[run]\noverlap = 1", r"run\.overlap must be bool, got 1"),
        ("[data]\nmax_side = true", r"data\.max_side must be int \| None, got True"),
        ("[stage1]\nlearning_rate = '1'", r"stage1\.learning_rate must be float, got '1'"),
        ("[data]\nsize = [1, 2, 3]", r"data\.size must be tuple\[int, int\], got \[1, 2, 3\]"),
        ("[network]\ndistances = [1, 2.5]", r"network\.distances must be int, got 2.5"),
        (
            "[network]\nbackbone = 'resnet'",
            r"network\.backbone must be one of lite0, resnet50, got 'resnet'",
        ),
        ("[data]\nsize = [", "not a TOML file"),
        ("[data]\nsize = [64, 66]", r"a\.toml: data\.size must be a multiple of 4, got \(64, 66\)"),
        ("[stage1]\nbatch = 0", r"a\.toml: stage1\.batch must be at least 1, got 0"),
        ("[network]\ndistances = [0, 4]", r"network\.distances must be at least 1, got \(0, 4\)"),
        ("[network]\ndistances = []", r"network\.distances must be distinct, and at least one"),
        ("[network]\ndistances = [4, 4]", r"distances must be distinct, and at least one, got \(4, 4\)"),
        ("[network.widths]\naspp = 0", r"network\.widths\.aspp must be at least 1, got 0"),
        ("[training]\ngradient_norm = 0", r"training\.gradient_norm must be above 0, got 0"),
        ("[solver]\nscales = [nan, 1]", r"solver\.scales must be above 0"),
        ("[data]\nscale = [2, 0.5]", r"data\.scale must be from low to high, got \(2\.0, 0\.5\)"),
        ("[loss]\ncost_dropout = 1.5", r"loss\.cost_dropout must be from 0 to 1, got 1\.5"),
        ("[stage1]\nlearning_rate = -1", r"stage1\.learning_rate must be at least 0, got -1\.0"),
        ("[stage1]\nlearning_rate = inf", r"stage1\.learning_rate must be at least 0, got inf"),
    ],
)
def test_a_mistake_is_refused_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load([write(tmp_path, text)])


def test_every_number_has_a_range_beside_it() -> None:
    """No number of a run is unchecked: its rules stand in its annotation."""
    config, numbers = Config(), 0
    tables = [(table.name, getattr(config, table.name)) for table in fields(config)]
    for name, table in [*tables, ("network", config.network.widths)]:
        types = get_type_hints(type(table), include_extras=True)
        for entry in fields(table):
            value = getattr(table, entry.name)
            number = value[0] if isinstance(value, tuple) else value
            if isinstance(number, int | float) and not isinstance(number, bool):
                numbers += 1
                assert getattr(types[entry.name], "__metadata__", ()), f"{name}.{entry.name}"
    assert numbers > 35


def test_text_that_is_not_utf_8_is_refused_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"[solver]\nmethod = '\xff'")
    with pytest.raises(ValueError, match=r"a\.toml: not a TOML file"):
        load([tmp_path / "a.toml"])


def test_a_number_given_by_hand_is_checked_too() -> None:
    with pytest.raises(ValueError, match=r"run\.accumulation must be at least 1, got 0"):
        DRAWN.change(run={"accumulation": 0})


def test_the_seed_of_a_file_counts_unless_another_is_given(tmp_path: Path) -> None:
    path = str(write(tmp_path, "[training]\nseed = 3"))
    assert options.chosen_config([path], None).training.seed == 3
    assert options.chosen_config([path], None, 5).training.seed == 5


def test_without_files_the_settings_are_those_for_small_images(tmp_path: Path) -> None:
    assert options.chosen_config(None, None, 4) == DRAWN.change(training={"seed": 4})
    assert options.chosen_config(None, tmp_path) == REAL


def test_a_key_in_two_files_is_refused(tmp_path: Path) -> None:
    both = [
        write(tmp_path, "[training]\nseed = 1\n[data]\nmax_side = 64"),
        write(tmp_path, "[training]\nprecision = 'bfloat16'", "b.toml"),
    ]
    assert load(both).training == Training(precision="bfloat16", seed=1)
    both.append(write(tmp_path, "[training]\nseed = 2", "c.toml"))
    with pytest.raises(ValueError, match=r"c\.toml: training\.seed was given before"):
        load(both)


def test_a_missing_file_lists_the_settings_that_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"kitti: no such file; there are cityscapes, coco"):
        load([tmp_path / "kitti"])


def test_a_checkpoint_brings_its_settings_back() -> None:
    config = DRAWN.change(training={"seed": 4})
    assert from_fields(asdict(config)) == config
