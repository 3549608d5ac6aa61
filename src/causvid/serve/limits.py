"""How much anybody may ask of the server, in one place.

Everything that a client sends is bounded by a number below, and all of them are served at
`/v1/limits`, so that a client can say no before the server does. Knows no requests.
"""

from dataclasses import asdict, dataclass, fields

from causvid.errors import UserError

_MEBI = 2**20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is accepted; every number is above zero, but `history` may be zero."""

    sessions: int = 4
    """Live viewers at one time."""
    session_seconds: float | int = 3600.0
    """Length of one branch of a live video."""
    branches: int = 16
    """Branches of one live video, its first included."""
    history: int = 24
    """Chunks of a branch that one can go back by; fewer where the model's memory of them is large."""
    idle_seconds: float | int = 300.0
    """Without a message from a client; after that it is gone."""
    prompt_characters: int = 2000
    message_bytes: int = 2 * _MEBI
    """One WebSocket message, a camera's picture included."""
    messages_per_second: float | int = 200.0
    """On average; twice as many may come at once."""
    credits: int = 240
    """Frames on their way to one viewer, made and not yet shown."""
    picture_pixels: int = 1920 * 1080
    """One picture of a live camera."""
    uploads: int = 32
    upload_bytes: int = 64 * _MEBI
    upload_pixels: int = 4096 * 2304
    upload_seconds: float | int = 30.0
    """Of a video; what is longer is refused."""
    upload_keep_seconds: float | int = 3600.0
    body_bytes: int = 256 * 1024
    """A JSON body, or a message in JSON."""
    jobs_queued: int = 16
    job_seconds: float | int = 120.0
    job_pixels: int = 1280 * 720
    """Height times width of a job that asks for a size of its own."""
    jobs_kept: int = 64
    job_keep_seconds: float | int = 3600.0
    """How long a finished job and its video can be fetched."""
    disk_bytes: int = 4096 * _MEBI
    """Uploads, recordings and finished videos together."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0 and not (field.name == "history" and value == 0):
                raise UserError(f"the limit {field.name} is {value}; it must be above 0.")

    def public(self) -> dict[str, int | float]:
        """As JSON."""
        return asdict(self)

    def check_prompt(self, prompt: str) -> str:
        """The prompt itself.

        Raises:
            UserError: it is too long.
        """
        if len(prompt) > self.prompt_characters:
            raise UserError(
                f"the prompt has {len(prompt)} characters; at most {self.prompt_characters} are accepted."
            )
        return prompt
