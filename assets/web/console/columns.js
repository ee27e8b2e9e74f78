// Columns of a node's row, as pages/cluster.py sends them.
export const KIND = 0, STATE = 1, PARTS = 2, CPUS = 3, CPUS_USED = 4, MB = 5, MB_USED = 6, GPUS = 7, GPUS_USED = 8, MODEL = 9
