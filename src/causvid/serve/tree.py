"""The branches of a live video, and what changes in them when its viewer steers.

Every change answers with the message that tells the viewer. Knows sessions and branches; nothing of
turns, time or networks.
"""

from typing import Any

from causvid.errors import UserError
from causvid.serve.branches import Branch, Moment
from causvid.serve.limits import Limits

Answer = dict[str, Any]


class Tree:
    """Branches by number; one of them is the present one."""

    def __init__(self, limits: Limits) -> None:
        self.branches: dict[int, Branch] = {}
        self._limits, self._present = limits, 0

    @property
    def present(self) -> Branch:
        return self.branches[self._present]

    def plant(self, session: Any, *, prompt: str, seed: int, strength: float | None) -> Answer:
        """The first branch."""
        self.branches[0] = Branch(0, session, (Moment(frame=0, prompt=prompt, strength=strength),))
        unknown = session.unknown_words(prompt)
        return {"type": "started", "branch": 0, "seed": seed, "prompt": prompt, "unknown": unknown}

    def set_prompt(
        self, prompt: str, *, transition: str, over: int, strength: float | None, id: int = 0
    ) -> Answer:
        """Go on with another prompt.

        Raises:
            UserError: the prompt is empty or too long, or the transition cannot be made.
        """
        branch = self.present
        how: dict[str, Any] = {"transition": transition} | ({"over": over} if transition == "blend" else {})
        frame = branch.session.set_prompt(self._limits.check_prompt(prompt), **how)
        branch.at(prompt, frame, strength=strength, **how)
        return {
            "type": "prompted",
            "id": id,
            "frame": frame,
            "prompt": prompt,
            "transition": transition,
            "branch": branch.number,
            "unknown": branch.session.unknown_words(prompt),
        }

    def rewind(self, chunk: int) -> Answer:
        """Cut the present branch back.

        Raises:
            UserError: the chunk is not kept.
        """
        branch = self.present
        branch.session.rewind(chunk)
        branch.cut(chunk, branch.session.frames)
        return {"type": "rewound", **self._where()}

    def branch(self, chunk: int, *, prompt: str | None, transition: str, id: int) -> Answer:
        """Begin another branch at a chunk of the present one, and go there.

        Raises:
            UserError: the chunk is not kept, there are too many branches, or a bad prompt.
        """
        parent = self.present
        if len(self.branches) >= self._limits.branches:
            raise UserError(f"the video has {len(self.branches)} branches; there can be no more of them.")
        session = parent.session.branch(chunk)
        branch = parent.fork(max(self.branches) + 1, session)
        branch.cut(chunk, session.frames)
        if prompt is not None:
            frame = session.set_prompt(self._limits.check_prompt(prompt), transition=transition)
            branch.at(prompt, frame, transition=transition, strength=branch.moments[-1].strength)
        self.branches[branch.number], self._present = branch, branch.number
        return {"type": "branched", "id": id, "parent": parent.number, **self._where()}

    def switch(self, number: int) -> Answer:
        """Go on where another branch ended.

        Raises:
            UserError: there is no such branch.
        """
        if number not in self.branches:
            known = ", ".join(map(str, self.branches))
            raise UserError(f"there is no branch {number}; the branches are {known}.")
        self._present = number
        return {"type": "switched", **self._where()}

    def let_go(self) -> None:
        """Free the sessions; what was shown stays known."""
        for branch in self.branches.values():
            branch.session = None

    def _where(self) -> dict[str, int]:
        branch = self.present
        return {"branch": branch.number, "chunk": branch.session.chunks, "frame": branch.session.frames}
