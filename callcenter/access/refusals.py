"""Why someone or something was refused. The texts may be shown: they name the thing and the mend, and no secret."""


class AccessRefusal(Exception):
    """Something that may not be done as asked. ``code`` is stable, for programs."""

    code = "refused"


class SignInRefused(AccessRefusal):
    """One text for a wrong name, a wrong password, a locked and a disabled account: which it is tells an attacker."""

    code = "sign_in_refused"

    def __init__(self) -> None:
        super().__init__(
            "username or password is wrong, or the account is disabled, or locked for 15 minutes after 5 failures"
        )


class SetupRefused(AccessRefusal):
    """The one-time administrator link is wrong, used or too old."""

    code = "setup_link_invalid"

    def __init__(self) -> None:
        super().__init__("the setup link is wrong, used or older than 24 hours: restart the hotline for a new one")


class NameTaken(AccessRefusal):
    """The username exists."""

    code = "username_taken"


class BadValue(AccessRefusal):
    """A value that cannot be accepted."""

    code = "value_refused"


class NotThere(AccessRefusal):
    """No such user or key."""

    code = "not_found"


class LastAdministrator(AccessRefusal):
    """The change would leave nobody who can manage users."""

    code = "last_administrator"
