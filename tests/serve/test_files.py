import runpy
from pathlib import Path

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from plcp.forecast.replicas import APP
from plcp.serving.app import Application, build
from plcp.serving.auth import require_token_beyond_loopback

SERVE = Path(__file__).parents[2] / "serve"


@pytest.fixture
def config() -> ServeDeploySchema:
    return ServeDeploySchema.model_validate(yaml.safe_load((SERVE / "app.yaml").read_text()))


def test_serve_takes_the_file_and_it_listens_to_this_machine_alone(config: ServeDeploySchema) -> None:
    require_token_beyond_loopback(config.http_options.host, None)
    assert [application.name for application in config.applications] == [APP]


def test_the_arguments_are_those_of_the_builder(config: ServeDeploySchema) -> None:
    arguments = Application.model_validate(config.applications[0].args)
    assert arguments.host == config.http_options.host
    assert arguments.port == config.http_options.port


def test_the_import_path_leads_to_the_builder(config: ServeDeploySchema) -> None:
    module, name = config.applications[0].import_path.split(":")
    assert runpy.run_path(str(SERVE / f"{module}.py"))[name] is build
