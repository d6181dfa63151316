"""Read back what TensorBoard would show."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EVERYTHING = {"histograms": 0, "tensors": 0, "images": 0}


def events(folder):
    accumulator = EventAccumulator(str(folder), size_guidance=EVERYTHING)
    accumulator.Reload()
    return accumulator


def texts(folder, tag):
    found = events(folder).Tensors(f"{tag}/text_summary")
    return {event.step: event.tensor_proto.string_val[0].decode() for event in found}
