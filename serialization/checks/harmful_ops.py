"""The ops of TensorFlow 2.21 that reach beyond the process: all that take a file, an address or code.

Ops that write to a summary writer are not listed, because only CreateSummaryFileWriter and CreateSummaryDbWriter open
one. tests/checks/test_harmful_ops.py goes through the registry: each op that takes a file, an address or code by its
name, an attribute or an input is listed here, or there with the reason why it does no harm.
"""

from __future__ import annotations

WRITES, READS, CONNECTS, RUNS = "write files", "read files", "open connections", "run code"

_TABLE = {
    WRITES: """
        CacheDataset CacheDatasetV2 CalibrationStatisticsSaver CreateSummaryDbWriter CreateSummaryFileWriter
        DatasetToTFRecord DumpTensor ExperimentalDatasetToTFRecord MergeV2Checkpoints PrintV2 Save SaveDataset
        SaveDatasetV2 SaveSlices SaveV2 SnapshotChunkDataset SnapshotDataset SnapshotDatasetV2 WriteFile
    """,
    READS: """
        CSVDataset CSVDatasetV2 DTensorRestoreV2 DecodeProtoV2 EncodeProto ExperimentalCSVDataset
        ExperimentalLMDBDataset ExperimentalMatchingFilesDataset ExperimentalSqlDataset FixedLengthRecordDataset
        FixedLengthRecordDatasetV2 FixedLengthRecordReader FixedLengthRecordReaderV2 FixedUnigramCandidateSampler
        GenerateVocabRemapping ImmutableConst InitializeTableFromTextFile InitializeTableFromTextFileV2 LMDBDataset
        LMDBReader ListSnapshotChunksDataset LoadAndRemapMatrix LoadDataset MatchingFiles MatchingFilesDataset
        ReadFile RecordInput Restore RestoreSlice RestoreV2 Skipgram SnapshotDatasetReader SnapshotNestedDatasetReader
        SqlDataset TFRecordDataset TFRecordDatasetV2 TFRecordReader TFRecordReaderV2 TextLineDataset TextLineReader
        TextLineReaderV2 WholeFileReader WholeFileReaderV2
    """,
    CONNECTS: """
        ConfigureTPUEmbeddingHost ConnectTPUEmbeddingHosts Copy CopyHost DataServiceDataset DataServiceDatasetV2
        DataServiceDatasetV3 DataServiceDatasetV4 DebugIdentity DebugIdentityV2 DebugIdentityV3 DebugNanCount
        DebugNumericSummary DistributedSave RegisterDataset RegisterDatasetV2 RpcCall RpcClient RpcServer
        RpcServerRegister RpcServerStart _InitializeHostForDistributedTPU
    """,
    RUNS: """
        Abort ConstructionFails DatasetFromGraph DeserializeIterator EagerPyFunc FileSystemSetConfiguration
        MlirPassthroughOp PyFunc PyFuncStateless RemoteCall TPUCompile TPUExecute TPUExecuteAndUpdateVariables
        TRTEngineOp WorkerHeartbeat XlaCallModule XlaCustomCall XlaCustomCallV2 XlaHostCompute _TPUCompileMlir
        _XlaHostComputeMlir
    """,
}

EFFECTS = {op: effect for effect, ops in _TABLE.items() for op in ops.split()}
# The input with the filename, of the ops that may have an honest one: see file_names.py.
FILE_INPUTS = {
    **dict.fromkeys(
        ("InitializeTableFromTextFile", "InitializeTableFromTextFileV2", "CacheDataset", "CacheDatasetV2"), 1
    ),
    **dict.fromkeys(("Restore", "RestoreSlice", "RestoreV2", "ReadFile", "TextLineDataset"), 0),
    **dict.fromkeys(
        ("TFRecordDataset", "TFRecordDatasetV2", "FixedLengthRecordDataset", "FixedLengthRecordDatasetV2"), 0
    ),
}
