"""What the tests of remote/ share."""

import pytest
import tls_files


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """(certificate, key): files, of 127.0.0.1, signed by itself."""
    if not tls_files.has_openssl():
        pytest.skip(tls_files.MISSING)
    return tls_files.certificate(tmp_path_factory.mktemp("tls"))
