"""Evaluation of responses: graded programs and pass@k, win rates by judges, reward-model scores, best of N."""
