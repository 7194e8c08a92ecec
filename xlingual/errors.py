"""The one exception for what a user can get wrong."""


class ConfigError(ValueError):
    """Raised for a bad setting, path or input, before any device time is spent.

    The message names the argument, what was found and what was expected. The command line prints
    it alone, without a traceback, and exits with status 2.
    """
