"""Names whose modules are imported at their first use."""

import ast
import copy
import importlib
import pickle
from pathlib import Path

import pytest

import deepcompression as dc
from deepcompression import checkpoint
from deepcompression.common.lazy_names import lazy_names
from deepcompression.tensors.entry import Tie

LAZY = [dc, checkpoint]


def typed_places(package):
    """Name -> module, as the imports for type checkers say."""
    assert package.__file__ is not None
    tree = ast.parse(Path(package.__file__).read_text())
    (guarded,) = [node for node in tree.body if isinstance(node, ast.If)]
    return {alias.name: node.module for node in guarded.body for alias in node.names}


@pytest.mark.parametrize("package", LAZY)
def test_a_name_is_that_of_the_import_that_type_checkers_see(package):
    places = typed_places(package)
    assert places == package._PLACES
    assert sorted(places) == sorted(package.__all__)
    for name, module in places.items():
        assert getattr(package, name) is getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("package", LAZY)
def test_dir_shows_all_names(package):
    assert {*package.__all__, "__doc__"} <= set(dir(package))


def test_a_name_that_there_is_not_is_an_ordinary_error():
    slip = "compres"
    with pytest.raises(AttributeError, match="module 'deepcompression' has no attribute 'compres'"):
        getattr(dc, slip)
    with pytest.raises(ImportError, match="cannot import name 'compres'"):
        exec("from deepcompression import compres")


def test_a_name_is_looked_up_once(monkeypatch):
    find, _ = lazy_names("deepcompression.common", {"Tie": "deepcompression.tensors.entry"})
    package = importlib.import_module("deepcompression.common")
    monkeypatch.setattr(package, "Tie", None, raising=False)
    assert find("Tie") is Tie
    assert package.Tie is Tie


def test_objects_of_public_classes_are_pickled():
    recipe = dc.Recipe(rules=(dc.Rule(module="*", prune=dc.Prune(density=0.1), encode=dc.Encode(coder="raw")),))
    assert pickle.loads(pickle.dumps(recipe)) == copy.deepcopy(recipe) == recipe
    assert pickle.loads(pickle.dumps(dc.Recipe)) is dc.Recipe


def test_the_version_is_there_without_any_import():
    assert vars(dc)["__version__"].count(".") == 2
