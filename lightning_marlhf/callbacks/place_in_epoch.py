"""Where in the data a checkpoint is: after a batch inside an epoch, or before the first batch of the next one.

Lightning closes the epoch wherever training stops, so that a run which goes on from there would leave out the rest of
its rows, and restores other things after a save at a batch's end than after a validation or at the end of a fit.
"""

from typing import Any


def settle(loops: dict[str, Any], *, epoch_over: bool) -> int:
    """Bring the state of Lightning's loops into one of two shapes, whenever it was taken.

    Inside an epoch it is that of a batch's end, from which Lightning goes on with the next batch; where the epoch is
    over, the next one has not begun.

    Args:
        loops: "loops" of a checkpoint; changed in place.
        epoch_over: the last batch of the epoch is done.

    Returns:
        How many epochs are over.
    """
    fit = loops["fit_loop"]
    epochs, batches = fit["epoch_progress"], fit["epoch_loop.batch_progress"]
    if batches["current"]["ready"]:  # else no batch was made since the run began or went on
        for count in (epochs["total"], epochs["current"]):
            over = count["started"] if epoch_over else count["started"] - 1
            count.update(ready=count["started"], processed=over, completed=over)
        for count in (batches["total"], batches["current"]):
            closed = count["ready"] if epoch_over else count["ready"] - 1
            count.update(started=count["ready"], processed=count["ready"], completed=closed)
        fit["epoch_loop.state_dict"]["_batches_that_stepped"] = batches["total"]["completed"]
        if epoch_over:
            batches.update(current=dict.fromkeys(batches["current"], 0), is_last_batch=False)
            fit["state_dict"].pop("combined_loader", None)
    return int(epochs["current"]["processed"])
