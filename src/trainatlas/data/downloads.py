"""Downloads of a data set's files: each address in turn, several tries, what has arrived kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from trainatlas.data.published import Download

TRIES = 3
"""How often a download is tried at each address, what has arrived before being kept."""
PAUSE = 1.0
"""Seconds before the second try; twice as many before the third."""
TIMEOUT = 30.0
"""Seconds to wait for a host to answer, and for the next piece of a download."""


class NotHadError(Exception):
    """A download failed; the message says why, the host named."""


def download(item: Download, workshop: Path, say: Callable[[str], None]) -> Path:
    """Download a file into the workshop, its SHA-256 checked; raise NotHadError where no address gives it."""
    import logging

    import pooch  # type: ignore[import-untyped]

    pooch.get_logger().setLevel(logging.WARNING)  # its lines would stand between ours
    reasons = []
    for url in item.urls:
        say(f"downloading {url} ({item.size / 1e6:,.1f} MB)")
        try:
            return Path(
                pooch.retrieve(url, f"sha256:{item.sha256}", item.name, workshop, downloader=_Transfer(item.size))
            )
        except NotHadError as error:
            reasons.append(str(error))
        except ValueError:  # pooch's word for a wrong sum
            reasons.append(f"{urlsplit(url).netloc} sent another file: its SHA-256 is not {item.sha256}")
    raise NotHadError(", ".join(reasons))


class _Transfer:
    """Downloader for pooch that takes up a broken download where it stopped, and never takes more than expected.

    pooch's own starts anew each time, and lets a host's `Content-Encoding` unpack a .tar.gz on the way, which
    changes its sum.
    """

    def __init__(self, size: int) -> None:
        self._size = size

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Write what `url` sends to `output_file`; raise NotHadError where it does not arrive whole."""
        import requests
        import urllib3
        from tqdm import tqdm  # type: ignore[import-untyped]

        host = urlsplit(url).netloc
        reason = ""
        # disable=None: a bar on a terminal, nothing in a log
        with (
            Path(output_file).open("wb") as file,
            tqdm(total=self._size, unit="B", unit_scale=True, disable=None) as bar,
        ):
            for attempt in range(TRIES):
                if attempt:
                    time.sleep(PAUSE * attempt)
                try:
                    self._receive(url, file, bar)
                except requests.HTTPError as error:
                    status = "with an error" if error.response is None else error.response.status_code
                    raise NotHadError(f"{host} answers {status}") from None
                except requests.Timeout:
                    reason = f"{host} does not answer"
                except requests.ConnectionError:
                    reason = f"no connection to {host}"
                except (requests.RequestException, urllib3.exceptions.HTTPError):
                    reason = f"the connection to {host} broke off"
                else:
                    if file.tell() == self._size:
                        return
                    reason = f"{host} sent {file.tell():,} bytes instead of {self._size:,}"
                    if file.tell() > self._size:
                        break
        raise NotHadError(reason)

    def _receive(self, url: str, file: IO[bytes], bar: Any) -> None:
        import requests

        have = file.tell()
        wanted = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=wanted, stream=True, timeout=TIMEOUT) as response:
            response.raise_for_status()
            if have and response.status_code != requests.codes.partial_content:  # a host that knows no ranges
                file.seek(0)
                file.truncate()
                bar.reset()
            for block in response.raw.stream(1 << 16, decode_content=False):
                file.write(block)
                bar.update(len(block))
                if file.tell() > self._size:
                    return
