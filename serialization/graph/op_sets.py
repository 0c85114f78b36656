"""Ops by their role: variables, tables, restore ops, queues and so on.

Each set holds every op of its role, those of old TensorFlow too. A module that needs other ops writes the difference
from a set, with the reason beside it.
"""

from __future__ import annotations

import re
from typing import Final

# Variables. A Ref form gives a reference to the variable, a VarHandleOp a handle.
VARIABLES: Final = frozenset({"Variable", "VariableV2", "VarHandleOp", "AutoReloadVariable", "TemporaryVariable"})
ASSIGNMENTS: Final = frozenset({"Assign", "AssignVariableOp"})
INITIALIZED_CHECKS: Final = frozenset({"IsVariableInitialized", "VarIsInitializedOp"})
VARIABLE_READERS: Final = INITIALIZED_CHECKS | {"ReadVariableOp"}

# Lookup tables.
STATIC_TABLES: Final = frozenset({"HashTable", "HashTableV2"})
DENSE_TABLES: Final = frozenset({"MutableDenseHashTable", "MutableDenseHashTableV2"})
ANONYMOUS_TABLES: Final = frozenset(
    {
        "AnonymousHashTable",
        "AnonymousMutableDenseHashTable",
        "AnonymousMutableHashTable",
        "AnonymousMutableHashTableOfTensors",
    }
)
TABLES: Final = (
    STATIC_TABLES
    | DENSE_TABLES
    | ANONYMOUS_TABLES
    | {"MutableHashTable", "MutableHashTableV2", "MutableHashTableOfTensors", "MutableHashTableOfTensorsV2"}
)
TEXT_FILE_INITIALIZERS: Final = frozenset({"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"})
TABLE_INITIALIZERS: Final = TEXT_FILE_INITIALIZERS | {
    "InitializeTable",
    "InitializeTableV2",
    "InitializeTableFromDataset",
}
TABLE_IMPORTS: Final = frozenset({"LookupTableImport", "LookupTableImportV2"})
TABLE_EXPORTS: Final = frozenset({"LookupTableExport", "LookupTableExportV2"})
TABLE_SIZES: Final = frozenset({"LookupTableSize", "LookupTableSizeV2"})
TABLE_LOOKUPS: Final = frozenset({"LookupTableFind", "LookupTableFindV2"})
TABLE_UPDATES: Final = frozenset({"LookupTableInsert", "LookupTableInsertV2", "LookupTableRemoveV2"})
TABLE_WRITERS: Final = TABLE_INITIALIZERS | TABLE_IMPORTS | TABLE_UPDATES

# Checkpoints.
RESTORE_OPS: Final = frozenset({"Restore", "RestoreSlice", "RestoreV2"})
SAVE_OPS: Final = frozenset(
    {"Save", "SaveSlices", "SaveV2", "MergeV2Checkpoints", "ShardedFilename", "ShardedFilespec"}
)

# Values from outside of the graph.
PLACEHOLDERS: Final = frozenset({"Placeholder", "PlaceholderV2"})
ALL_PLACEHOLDERS: Final = PLACEHOLDERS | {"PlaceholderWithDefault"}
QUEUES: Final = frozenset(
    {
        *("FIFOQueue", "FIFOQueueV2", "PaddingFIFOQueue", "PaddingFIFOQueueV2"),
        *("PriorityQueue", "PriorityQueueV2", "RandomShuffleQueue", "RandomShuffleQueueV2"),
    }
)
ENQUEUES: Final = frozenset({"QueueEnqueue", "QueueEnqueueV2", "QueueEnqueueMany", "QueueEnqueueManyV2"})
QUEUE_SIZES: Final = frozenset({"QueueSize", "QueueSizeV2"})
ITERATORS: Final = frozenset(
    {
        *("Iterator", "IteratorV2", "OneShotIterator", "IteratorFromStringHandle", "IteratorFromStringHandleV2"),
        *("AnonymousIterator", "AnonymousIteratorV2", "AnonymousIteratorV3", "MultiDeviceIterator"),
    }
)
# They take values from an iterator, a queue, a reader, a barrier, a staging area or the host of a TPU.
PIPELINES: Final = frozenset(
    {
        *("InfeedDequeue", "InfeedDequeueTuple"),
        *("IteratorGetNext", "IteratorGetNextSync", "MultiDeviceIteratorGetNextFromShard"),
        *("QueueDequeue", "QueueDequeueV2", "QueueDequeueMany", "QueueDequeueManyV2"),
        *("QueueDequeueUpTo", "QueueDequeueUpToV2", "ReaderRead", "ReaderReadV2", "ReaderReadUpTo", "ReaderReadUpToV2"),
        *("BarrierTakeMany", "Unstage", "MapUnstage", "MapUnstageNoKey", "OrderedMapUnstage", "OrderedMapUnstageNoKey"),
    }
)

# Control flow of TensorFlow 1. A Ref form takes and gives a reference.
SWITCHES: Final = frozenset({"Switch", "RefSwitch"})
MERGES: Final = frozenset({"Merge", "RefMerge"})
ENTERS: Final = frozenset({"Enter", "RefEnter"})
EXITS: Final = frozenset({"Exit", "RefExit"})
NEXT_ITERATIONS: Final = frozenset({"NextIteration", "RefNextIteration"})
# They pass their first input on unchanged; a Merge passes on the input that has a value.
IDENTITIES: Final = frozenset({"Identity", "RefIdentity"})
PASS_THROUGH: Final = IDENTITIES | SWITCHES | MERGES | ENTERS | EXITS | NEXT_ITERATIONS
REF_FORMS: Final = frozenset(op for op in PASS_THROUGH if op.startswith("Ref"))

# Functions.
FUNCTION_CALLS: Final = frozenset({"PartitionedCall", "StatefulPartitionedCall", "RemoteCall"})
WHILES: Final = frozenset({"While", "StatelessWhile"})
BRANCHES: Final = frozenset({"If", "StatelessIf", "Case", "StatelessCase"})
PYTHON_CALLS: Final = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})

# Lists of tensors.
STACKS: Final = frozenset({"Stack", "StackV2"})
TENSOR_ARRAYS: Final = frozenset({"TensorArray", "TensorArrayV2", "TensorArrayV3"})
TENSOR_ARRAY_READS: Final = frozenset(
    {
        *("TensorArrayRead", "TensorArrayReadV2", "TensorArrayReadV3"),
        *("TensorArrayGather", "TensorArrayGatherV2", "TensorArrayGatherV3", "TensorArrayPack"),
    }
)
CLOSES: Final = frozenset(
    {
        *("TensorArrayClose", "TensorArrayCloseV2", "TensorArrayCloseV3"),
        *("StackClose", "StackCloseV2", "QueueClose", "QueueCloseV2"),
    }
)
# Their output is a handle of a table, a queue and so on, and no value.
HANDLES: Final = TABLES | QUEUES | ITERATORS | STACKS | TENSOR_ARRAYS

# Their results depend on the shapes of their inputs, not on the values.
SHAPES: Final = frozenset({"Shape", "ShapeN", "Size", "Rank"})
LIKES: Final = frozenset({"ZerosLike", "OnesLike"})
VIEWS: Final = IDENTITIES | {"Reshape", "Squeeze", "ExpandDims", "Unpack"}  # the same values in another shape
BATCH_NORMS: Final = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})

CANDIDATE_SAMPLERS: Final = frozenset(
    {
        *("AllCandidateSampler", "FixedUnigramCandidateSampler", "LearnedUnigramCandidateSampler"),
        *("LogUniformCandidateSampler", "ThreadUnsafeUnigramCandidateSampler", "UniformCandidateSampler"),
    }
)
# Their values differ from run to run, unless a seed is set.
RANDOM_OPS: Final = frozenset(
    {
        *("RandomUniform", "RandomUniformInt", "RandomStandardNormal", "TruncatedNormal", "RandomGamma"),
        *("RandomPoisson", "RandomPoissonV2", "RandomCrop", "RandomShuffle", "Multinomial", "RiscRandomUniform"),
        *("ParameterizedTruncatedNormal", "NonDeterministicInts", "RngSkip", "RngReadAndSkip"),
        *("StatefulUniform", "StatefulUniformInt", "StatefulUniformFullInt", "StatefulStandardNormal"),
        *("StatefulStandardNormalV2", "StatefulTruncatedNormal", "StatefulRandomBinomial"),
        *("SampleDistortedBoundingBox", "SampleDistortedBoundingBoxV2"),
        *("RandomShuffleQueue", "RandomShuffleQueueV2"),
        *("RandomDataset", "RandomDatasetV2", "ExperimentalRandomDataset"),
        *CANDIDATE_SAMPLERS,
    }
)

# Uniform random numbers that are the same for the same seed, which is an input.
STATELESS_UNIFORMS: Final = frozenset({"StatelessRandomUniform", "StatelessRandomUniformV2"})

SUMMARY_WRITERS: Final = frozenset(
    {"SummaryWriter", "CreateSummaryFileWriter", "CreateSummaryDbWriter", "FlushSummaryWriter", "CloseSummaryWriter"}
)
SUMMARIES: Final = frozenset(
    {
        *("ScalarSummary", "HistogramSummary", "ImageSummary", "AudioSummary", "AudioSummaryV2", "TensorSummary"),
        *("TensorSummaryV2", "MergeSummary", "WriteSummary", "WriteScalarSummary", "WriteHistogramSummary"),
        *("WriteImageSummary", "WriteAudioSummary", "WriteGraphSummary", "WriteRawProtoSummary"),
        *("DebugNumericSummary", "DebugNumericSummaryV2"),
        *("StatsAggregatorSummary", "ExperimentalStatsAggregatorSummary"),
    }
)

_REF_UPDATES: Final = frozenset(
    {
        *("CountUpTo", "StridedSliceAssign"),
        *(f"Scatter{how}" for how in ("Update", "Add", "Sub", "Mul", "Div", "Min", "Max")),
        *(f"ScatterNd{how}" for how in ("Update", "Add", "Sub", "Min", "Max")),
    }
)
_WAITING = re.compile(r".*(While|Enter|Queue|Stage|Unstage|Barrier|Iterator|PyFunc|Recv|Reader|Mutex).*")


def is_of_dataset(op: str) -> bool:
    """Whether the op makes, changes or reads a dataset of tf.data, an iterator over one, or one of its elements."""
    return "Dataset" in op or "Iterator" in op or op.startswith("Optional")


def is_update(op: str) -> bool:
    """Whether the op changes a variable or a table. The names of other libraries' optimizers begin alike."""
    if op.startswith("ResourceGather"):
        return False
    prefixes = ("Assign", "Apply", "SparseApply", "Resource")
    return op in TABLE_UPDATES or op in _REF_UPDATES or op.startswith(prefixes)


def is_table_initializer(op: str, table: str) -> bool:
    """Whether the op fills a table, made by the op `table`, before the first run.

    An import fills a static table, as tf.lookup.KeyValueTensorInitializer writes it; other tables it restores.
    """
    return op in TABLE_INITIALIZERS or (op in TABLE_IMPORTS and table in STATIC_TABLES)


def may_wait(op: str) -> bool:
    """Whether the op may run for ever, or wait for a value that never comes. Other libraries' ops are named alike."""
    return _WAITING.fullmatch(op) is not None
