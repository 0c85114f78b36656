"""The ops of TensorFlow 2.21 that reach beyond the process: all that take a file, an address or code.

`@0` names the input with the filename, for ops that may read files of the model. Ops that write to a summary writer are
not listed, because only CreateSummaryFileWriter and CreateSummaryDbWriter open one.
"""

from __future__ import annotations

WRITES, READS, CONNECTS, RUNS = "write files", "read files", "open connections", "run code"

_TABLE = {
    WRITES: """
        CacheDataset@1 CacheDatasetV2@1 CalibrationStatisticsSaver CreateSummaryDbWriter CreateSummaryFileWriter
        DatasetToTFRecord DumpTensor ExperimentalDatasetToTFRecord MergeV2Checkpoints PrintV2 Save SaveDataset
        SaveDatasetV2 SaveSlices SaveV2 SnapshotChunkDataset SnapshotDataset SnapshotDatasetV2 WriteFile
    """,
    READS: """
        CSVDataset@0 CSVDatasetV2@0 DTensorRestoreV2@0 DecodeProtoV2 EncodeProto ExperimentalCSVDataset@0
        ExperimentalLMDBDataset@0 ExperimentalMatchingFilesDataset ExperimentalSqlDataset@1 FixedLengthRecordDataset@0
        FixedLengthRecordDatasetV2@0 FixedLengthRecordReader FixedLengthRecordReaderV2 FixedUnigramCandidateSampler
        GenerateVocabRemapping@0@1 ImmutableConst InitializeTableFromTextFile@1 InitializeTableFromTextFileV2@1
        LMDBDataset@0 LMDBReader ListSnapshotChunksDataset LoadAndRemapMatrix@0 LoadDataset MatchingFiles
        MatchingFilesDataset ReadFile@0 RecordInput Restore@0 RestoreSlice@0 RestoreV2@0 Skipgram SnapshotDatasetReader
        SnapshotNestedDatasetReader SqlDataset@1 TFRecordDataset@0 TFRecordDatasetV2@0 TFRecordReader TFRecordReaderV2
        TextLineDataset@0 TextLineReader TextLineReaderV2 WholeFileReader WholeFileReaderV2
    """,
    CONNECTS: """
        DataServiceDataset DataServiceDatasetV2 DataServiceDatasetV3 DataServiceDatasetV4 DebugIdentity DebugIdentityV2
        DebugIdentityV3 DebugNanCount DebugNumericSummary DistributedSave RegisterDataset RegisterDatasetV2 RpcCall
        RpcClient RpcServer RpcServerRegister RpcServerStart
    """,
    RUNS: """
        Abort ConstructionFails DatasetFromGraph DeserializeIterator EagerPyFunc FileSystemSetConfiguration
        MlirPassthroughOp PyFunc PyFuncStateless RemoteCall TPUExecute TPUExecuteAndUpdateVariables TRTEngineOp
        XlaCallModule XlaCustomCall XlaCustomCallV2 XlaHostCompute _TPUCompileMlir _XlaHostComputeMlir
    """,
}

EFFECTS = {entry.partition("@")[0]: effect for effect, entries in _TABLE.items() for entry in entries.split()}
FILE_INPUTS = {
    op: tuple(map(int, indexes))
    for entries in _TABLE.values()
    for op, *indexes in (entry.split("@") for entry in entries.split())
}
