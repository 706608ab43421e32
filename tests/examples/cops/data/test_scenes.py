"""Drawn street scenes."""

import numpy as np
import pytest

from examples.cops.data.scenes import DrawnScenes
from examples.cops.data.street import CAR, CATEGORIES, PERSON, ROAD, SKY


@pytest.fixture(scope="module")
def scenes() -> DrawnScenes:
    return DrawnScenes("train", seed=0, length=60)


def touching_pairs(segments: np.ndarray) -> set[tuple[int, int]]:
    """Pairs of segments that are neighbours somewhere."""
    pairs = [
        np.stack([first.ravel(), second.ravel()], axis=1)
        for first, second in ((segments[:-1], segments[1:]), (segments[:, :-1], segments[:, 1:]))
    ]
    return {
        (min(pair), max(pair))
        for pair in np.unique(np.concatenate(pairs), axis=0).tolist()
        if pair[0] != pair[1]
    }


def test_a_scene_depends_on_seed_split_and_index_alone(scenes: DrawnScenes) -> None:
    again = DrawnScenes("train", seed=0, length=10)
    for index in (3, 0):  # in any order
        assert (again[index].image == scenes[index].image).all()
        assert (again[index].labels.segments == scenes[index].labels.segments).all()
    others = [DrawnScenes("val", 0)[3], DrawnScenes("train", 1)[3], scenes[4]]
    assert all((other.image != scenes[3].image).mean() > 0.5 for other in others)


def test_things_of_one_class_touch_in_most_scenes(scenes: DrawnScenes) -> None:
    touching = 0
    for index in range(len(scenes)):
        labels = scenes[index].labels
        touching += any(
            first >= 0 and labels.classes[first] == labels.classes[second] >= CAR
            for first, second in touching_pairs(labels.segments)
        )
    assert touching >= 0.5 * len(scenes)


def test_every_class_occurs_and_every_scene_has_sky_road_and_an_instance(scenes: DrawnScenes) -> None:
    seen: set[int] = set()
    for index in range(len(scenes)):
        classes = set(scenes[index].labels.classes.tolist())
        assert {SKY, ROAD} <= classes
        assert max(classes) >= CAR
        seen |= classes
    assert seen == set(range(len(CATEGORIES)))


def test_a_stuff_class_is_one_segment_and_instances_are_visible(scenes: DrawnScenes) -> None:
    for index in range(20):
        labels = scenes[index].labels
        stuff = labels.classes[~scenes.is_thing[labels.classes]]
        assert len(set(stuff.tolist())) == len(stuff)
        assert labels.areas()[scenes.is_thing[labels.classes]].min(initial=20) >= 20


def test_colour_alone_does_not_tell_the_cars_of_a_scene_apart(scenes: DrawnScenes) -> None:
    # Between two cars that touch, the step in brightness is often no larger than the sensor's noise.
    close = total = 0
    for index in range(len(scenes)):
        image, labels, _ = scenes[index]
        for first, second in touching_pairs(labels.segments):
            if first >= 0 and labels.classes[first] == labels.classes[second] == CAR:
                means = [image[labels.segments == segment].mean(axis=0) for segment in (first, second)]
                close += np.abs(means[0] - means[1]).max() < 20
                total += 1
    assert total >= 30
    assert close / total > 0.25


def test_nearer_people_are_taller(scenes: DrawnScenes) -> None:
    feet, heights = [], []
    for index in range(len(scenes)):
        segments, classes = scenes[index].labels.segments, scenes[index].labels.classes
        for person in np.flatnonzero(classes == PERSON):
            rows = np.flatnonzero((segments == person).any(axis=1))
            feet.append(rows[-1])
            heights.append(rows[-1] - rows[0])
    assert np.corrcoef(feet, heights)[0, 1] > 0.5


def test_other_sizes_are_drawn_and_bad_arguments_refused() -> None:
    assert DrawnScenes("val", size=(96, 160))[0].image.shape == (96, 160, 3)
    with pytest.raises(ValueError, match="split is 'test', expected 'train' or 'val'"):
        DrawnScenes("test")
    with pytest.raises(ValueError, match="seed is -1, expected at least 0"):
        DrawnScenes("val", seed=-1)
    with pytest.raises(ValueError, match=r"size is \(16, 64\), expected at least 32 pixels per side"):
        DrawnScenes("val", size=(16, 64))
    with pytest.raises(ValueError, match="length is 0, expected at least 1"):
        DrawnScenes("val", length=0)
    with pytest.raises(IndexError, match="index is 5, but there are 5 scenes"):
        DrawnScenes("val", length=5)[5]
