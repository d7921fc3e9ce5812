"""Answers that a fake gives one after the other."""


def next_of(answers):
    """Return the next answer, or raise it if it is an exception; the last one stays."""
    answer = answers.pop(0) if len(answers) > 1 else answers[0]
    if isinstance(answer, Exception):
        # It may be raised again: a traceback would grow each time.
        raise answer.with_traceback(None)
    return answer
