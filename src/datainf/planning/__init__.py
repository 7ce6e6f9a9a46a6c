"""What a run will do and take, known before it does: sizes from what is read, memory and time from
a few batches, scoring from formulas (`datainf.planning.costs`). What cannot fit is refused."""
