import numpy as np

from plcp.data.hashing import ATTRIBUTES, hash_attributes


def test_a_property_keeps_its_place_and_an_unseen_value_has_a_bucket() -> None:
    red, blue, unseen = hash_attributes(
        ['{"colour": "red", "size": 3}', '{"size": 3, "colour": "blue"}', '{"colour": "mauve", "size": null}']
    )
    assert (red != blue).sum() == 1
    assert set(red) & set(blue) > {0}
    assert (unseen > 0).sum() == 1


def test_what_is_missing_or_no_object_is_no_error() -> None:
    found = hash_attributes([None, "", "{}", "plain words", '{"a": [1, {"b": 2}]}'])
    assert found.shape == (5, ATTRIBUTES)
    assert (found > 0).sum(1).tolist() == [0, 0, 0, 1, 1]


def test_of_too_many_properties_some_stay() -> None:
    many = "{" + ", ".join(f'"k{i}": {i}' for i in range(30)) + "}"
    assert (hash_attributes([many]) > 0).all()
    assert np.array_equal(hash_attributes([many, "x"])[0], hash_attributes([many])[0])
