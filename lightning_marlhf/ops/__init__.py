"""Pure tensor math, one file per arrow of the data flow: no state, no files, no models."""
