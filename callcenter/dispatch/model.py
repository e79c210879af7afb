"""How far each reader of the feed has acknowledged."""

from datetime import datetime

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from callcenter.storage.base import Base


class FeedConsumer(Base):
    """One reader of the feed; ``id`` is the id of its API key. Its position only grows."""

    __tablename__ = "feed_consumers"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    acked_position: Mapped[int] = mapped_column(BigInteger)
    acked_at: Mapped[datetime | None]
