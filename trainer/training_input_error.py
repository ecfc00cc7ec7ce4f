"""The error for input that no training can use."""


class TrainingInputError(ValueError):
    """Settings or data from which nothing can be learned; trying again does not help.

    The message says what is wrong or missing.
    """
