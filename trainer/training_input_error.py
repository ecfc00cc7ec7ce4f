"""What no training can be made of."""


class TrainingInputError(ValueError):
    """Settings or data that nothing can be learned with, however often it is tried.

    The message says what is wrong or missing.
    """
