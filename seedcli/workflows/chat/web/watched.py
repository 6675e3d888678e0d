"""What a tab of the browser shows, kept on the server: it changes in one thread and is watched from
another, and is still there when the tab is loaded anew.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

TABS = 200  # kept; the one that nobody used for longest goes first
_TICK_S = 0.5  # how often a watcher looks, should it have missed a change


@dataclass(eq=False, kw_only=True)
class Watched:
    """Something that is shown.

    Attributes:
        busy: More will come.
        status: What a person should know now.
        version: Goes up with every change.
    """

    busy: bool = False
    status: str = ""
    version: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def tell(self, **new: Any) -> None:
        """Changes what is shown, and wakes who watches."""
        with self._changed:
            for name, value in new.items():
                setattr(self, name, value)
            self.version += 1
            self._changed.notify_all()

    def begin(self, **new: Any) -> bool:
        """As `tell`, and it is busy from now on; False, and nothing changes, if it was before."""
        with self._changed:
            if self.busy:
                return False
            self.tell(busy=True, **new)
            return True

    def watch(self) -> Iterator[None]:
        """Comes back for every change, until it is not busy."""
        while True:
            with self._changed:
                version, busy = self.version, self.busy
            yield
            if not busy:
                return
            with self._changed:
                if self.version == version:
                    self._changed.wait(_TICK_S)


Shown = TypeVar("Shown", bound=Watched)


class Tabs(Generic[Shown]):
    """What each tab shows, by the name that the tab gave itself."""

    def __init__(self, make: Callable[[], Shown], drop: Callable[[Shown], None]):
        """Starts empty.

        Args:
            make: What a new tab shows.
            drop: Hears of what is kept no longer.
        """
        self._make, self._drop = make, drop
        self._tabs: OrderedDict[str, Shown] = OrderedDict()
        self._lock = threading.Lock()

    def __getitem__(self, key: str) -> Shown:
        """What the tab shows; something new for a new one."""
        with self._lock:
            if key not in self._tabs:
                self._tabs[key] = self._make()
            self._tabs.move_to_end(key)
            left = [self._tabs.pop(old) for old in list(self._tabs)[:-TABS]]
            found = self._tabs[key]
        for each in left:
            self._drop(each)
        return found

    def drop_all(self) -> None:
        """Nothing is kept any more."""
        with self._lock:
            left, self._tabs = list(self._tabs.values()), OrderedDict()
        for each in left:
            self._drop(each)
