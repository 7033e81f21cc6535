"""The planners' page in a real browser."""

import shutil
import subprocess
import tempfile

import pytest

from plcp.serving.api import create_api
from tests.serving.conftest import Shop, service
from tests.test_client import listening


@pytest.mark.system
def test_the_page_shows_a_product(shop: Shop) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium here")
    with listening(create_api(service(shop, shop.scores), None)) as url, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--virtual-time-budget=15000", "--dump-dom"]
        seen = subprocess.run([browser, *options, f"{url}/#P003"], capture_output=True, text=True, timeout=120, check=True).stdout
    for text in ("mug no 3", "24 products", "When it comes", "40% of outcomes", "Numbers, week by week"):
        assert text in seen
    assert seen.count("<path") >= 5, "what was sold, two bands, mean and median are drawn"
