"""What leaves a database after a commit: the relay that carries it, its transports, and what could not be delivered."""

from app_kernel.db.outbox.dead_letters import DeadLetter, Waiting, list_dead_letters, list_waiting, retry_dead_letter
from app_kernel.db.outbox.relay import Receivers, Relay

__all__ = ["DeadLetter", "Receivers", "Relay", "Waiting", "list_dead_letters", "list_waiting", "retry_dead_letter"]
