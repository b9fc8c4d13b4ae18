package hydrant

// Point names a place where the promise is kept: a durability point, at which something is synced, or another
// rule that a build with the tag "sabotage" can switch off, to prove that the simulation notices. ARCHITECTURE.md
// lists them with what each protects.
type Point string

// The durability points: each is the argument of a Sync.
const (
	PointBlock         Point = "block"          // a block of the log, before its appenders are answered
	PointSegmentHeader Point = "segment-header" // header and checkpoint of a new segment, before it gets its name
	PointSegmentDir    Point = "segment-dir"    // the name of a new segment, before the first block in it
	PointCursorFile    Point = "cursor-file"    // a new journal file and its name
	PointReady         Point = "ready"          // a journal frame that holds a Ready, before anything is sent
	PointOutcome       Point = "outcome"        // a journal frame that holds an Outcome, before it is written out
	PointSave          Point = "save"           // a sink's own note
	PointDone          Point = "done"           // a journal frame with Dones only, before a segment is freed
	PointSnapshot      Point = "snapshot"       // the compacted journal, before the other file is given up
	PointSpoolFile     Point = "spool-file"     // a spooled file, before Ready
	PointSpoolDir      Point = "spool-dir"      // the names of the spooled files, before Ready
	PointTargetFile    Point = "target-file"    // the file destination's bytes, before they get their name
	PointTargetDir     Point = "target-dir"     // the file destination's name, before Done
	PointMkdir         Point = "mkdir"          // a new directory in its parent
	PointQuarantine    Point = "quarantine"     // a copy of what is damaged
	PointReserve       Point = "reserve"        // the space kept back for the spool
)

// The other rules that can be switched off.
const (
	RulePutAfterReady  Point = "put-after-ready"  // nothing is sent before its Ready is durable
	RuleNameRun        Point = "name-run"         // object names carry the run
	RuleNameLog        Point = "name-log"         // object names carry the log
	RuleCheckCRC       Point = "check-crc"        // checksums are verified on every read
	RuleDropTornTail   Point = "drop-torn-tail"   // a block that does not verify at the log's end is not taken for real
	RuleOwnSegments    Point = "own-segments"     // a process appends only to segments it created
	RuleFreeAfterDone  Point = "free-after-done"  // a segment goes only when every durable cursor is past it
	RulePoisonOnFsync  Point = "poison-on-fsync"  // after a failed fsync nothing is appended
	RuleProveLastBlock Point = "prove-last-block" // the block that no successor proves is copied and synced before it is read
)
