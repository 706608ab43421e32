"""Settings in files."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from examples.cops.config import DRAWN, SETTINGS, Config, from_fields, load, names
from examples.cops.network import Widths
from examples.cops.run import options


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
    assert (config.size, config.thing_area, config.stuff_area) == ((512, 1024), 200, 2048)
    assert config.distances == (1, 4, 16, 32, 64, 128)
    assert (config.iterations_one, config.batch_one, config.learning_rate_one) == (250_000, 12, 1e-3)
    assert (config.iterations_two, config.batch_two, config.samples) == (3_000, 24, 5)
    assert (config.scales, config.loss_weight, config.warm_up) == ((1, 5000), 10, 500)
    assert (config.backbone, config.heads, config.widths) == ("resnet50", "deeplab", Widths())


def test_coco_has_the_papers_numbers() -> None:
    config = load(files("coco"))
    assert (config.size, config.thing_area, config.stuff_area) == ((640, 640), 200, 4096)
    assert config.distances == (1, 4, 16, 32, 64)
    assert (config.iterations_one, config.batch_one) == (240_000, 48)
    assert (config.iterations_two, config.batch_two, config.learning_rate_two) == (10_000, 24, 1e-4)
    assert (config.scales, config.loss_weight) == ((1000, 5000), 100)


@pytest.mark.parametrize("data", ["cityscapes", "coco"])
def test_every_value_of_a_settings_file_has_its_source(data: str) -> None:
    for path in files(data):
        for line in path.read_text().splitlines():
            if "=" in line.split("#")[0]:
                assert line.rstrip().endswith("]"), line
                assert any(source in line for source in ("[P ", "[A", "[D]", "[ours]")), line


def test_tables_only_order_the_keys_and_lists_become_tuples(tmp_path: Path) -> None:
    path = write(tmp_path, "seed = 3\n[data]\nsize = [64, 96]\nstuff_area = 7\n[widths]\naspp = 8\n")
    config = load([path])
    assert config == Config(seed=3, size=(64, 96), stuff_area=7.0, widths=Widths(aspp=8))
    assert isinstance(config.stuff_area, float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bach_one = 3", r"a\.toml: bach_one is no setting; there are accumulation, "),
        ("[widths]\nasp = 3", r"a\.toml: asp is no setting; there are aspp, "),
        ("batch_one = 3.5", "batch_one must be int, got 3.5"),
        ("batch_one = true", "batch_one must be int, got True"),
        ("overlap = 1", "overlap must be bool, got 1"),
        ("learning_rate_one = '1'", "learning_rate_one must be float, got '1'"),
        ("size = [1, 2, 3]", r"size must be tuple\[int, int\], got \[1, 2, 3\]"),
        ("distances = [1, 2.5]", "distances must be int, got 2.5"),
        ("backbone = 'resnet'", "backbone must be one of lite0, resnet50, got 'resnet'"),
        ("size = [", "not a TOML file"),
        ("widths = 3", "widths must be Widths, got 3"),
        ("[a]\nseed = 1\n[b]\nseed = 2", r"a\.toml: seed was given before"),
        ("size = [64, 66]", r"a\.toml: size must be a multiple of 4, got \(64, 66\)"),
        ("batch_one = 0", r"a\.toml: batch_one must be at least 1, got 0"),
        ("distances = [0, 4]", r"distances must be at least 1, got \(0, 4\)"),
        ("distances = []", "distances must be distinct, and at least one"),
        ("distances = [4, 4]", r"distances must be distinct, and at least one, got \(4, 4\)"),
        ("gradient_norm = 0", "gradient_norm must be above 0, got 0"),
        ("scales = [nan, 1]", "scales must be above 0"),
        ("scale = [2, 0.5]", r"scale must go from low to high, got \(2\.0, 0\.5\)"),
        ("cost_dropout = 1.5", "cost_dropout must be at most 1"),
        ("learning_rate_one = -1", "learning_rate_one must be at least 0"),
    ],
)
def test_a_mistake_is_refused_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load([write(tmp_path, text)])


def test_text_that_is_not_utf_8_is_refused_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"method = '\xff'")
    with pytest.raises(ValueError, match=r"a\.toml: not a TOML file"):
        load([tmp_path / "a.toml"])


def test_a_number_given_by_hand_is_checked_too() -> None:
    with pytest.raises(ValueError, match="accumulation must be at least 1, got 0"):
        replace(DRAWN, accumulation=0)


def test_the_seed_of_a_file_counts_unless_another_is_given(tmp_path: Path) -> None:
    path = str(write(tmp_path, "seed = 3"))
    assert options.chosen_config([path], None).seed == 3
    assert options.chosen_config([path], None, 5).seed == 5


def test_a_key_in_two_files_is_refused(tmp_path: Path) -> None:
    both = [write(tmp_path, "seed = 1"), write(tmp_path, "[run]\nseed = 2", "b.toml")]
    with pytest.raises(ValueError, match=r"b\.toml: seed was given before"):
        load(both)


def test_a_missing_file_lists_the_settings_that_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"kitti: no such file; there are cityscapes, coco"):
        load([tmp_path / "kitti"])


def test_a_checkpoint_brings_its_settings_back() -> None:
    config = replace(DRAWN, seed=4)
    assert from_fields(asdict(config)) == config
