// Package config is the YAML file as structs: what can be set, the defaults, and the rules between settings.
// It opens nothing but the file itself and the secrets that it names.
package config

import "time"

// Config is a whole file, checked. All paths in it are absolute.
type Config struct {
	File      string // where it was read from
	DataDir   string
	Memory    Size // 0 = 256MiB or half the cgroup's limit, the smaller
	Log       LogConfig
	Shutdown  Shutdown
	Admin     Admin
	Pipelines []Pipeline // in the order of the file
}

// LogConfig says what goes to stderr.
type LogConfig struct {
	Level  string `yaml:"level" doc:"What is written to stderr: debug, info, warn or error."`
	Format string `yaml:"format" doc:"How: text or json."`
}

// Shutdown says what the first SIGTERM does.
type Shutdown struct {
	Grace time.Duration `yaml:"grace" doc:"How long the first SIGTERM or SIGINT may take, at least 1s. What is not delivered by then stays in data_dir."`
	Drain bool          `yaml:"drain" doc:"Close the open batches and deliver what is pending, within grace. Else they wait for the next start."`
}

// Admin is the listener of /metrics, /healthz, /readyz and /status; off when Listen is empty.
type Admin struct {
	Listen string `yaml:"listen" default:"off" doc:"HOST:PORT of /metrics, /healthz, /readyz and /status. Nobody is asked for a password: keep it on the loopback."`
}

// Pipeline is one stream: sources, a buffer, destinations.
type Pipeline struct {
	Name         string
	Sources      []Part // Kind: stdin, http, …
	Buffer       Buffer
	Destinations []Destination
}

// Part is a section that a Kind decodes: Value is what its Config function made, decoded into.
type Part struct {
	Kind  string
	Value any
	At    Place
}

// Buffer is the durable log of a pipeline.
type Buffer struct {
	Shards    int           `yaml:"shards" doc:"Lanes in the log, 1–500. Order is kept within a shard; a record's partition key chooses it."`
	Retention time.Duration `yaml:"retention" doc:"How long delivered records are kept. Undelivered ones never expire."`
	MaxBytes  Size          `yaml:"max_bytes" doc:"Disk for the log and the spools, at least 16MiB and four times the largest batch. At the cap the doors answer 429 and stdin waits."`
}

// Destination is one sink with its own cursor. What a pipeline sets for all of them is merged in.
type Destination struct {
	Name        string
	Sink        Part
	Batch       Batch
	GiveUpAfter time.Duration // 0 = never
	Concurrency int
	ErrorOutput Part // kind file below the data directory when none is given
}

// Batch says when a batch ends: at the size or after the interval, whichever comes first.
type Batch struct {
	Size     Size          `yaml:"size" doc:"Bytes of records before function and compression, and 32 more for each record; 1MiB–5GiB."`
	Interval time.Duration `yaml:"interval" doc:"Time since the batch's first record, 0s–15m."`
}

// Kinds are the sources and sinks that a file may name. Each function returns a pointer to a struct that holds the
// defaults, with yaml tags, to be decoded into. The struct may be a Checker, and a source a Listener, a sink a Targeter.
type Kinds struct{ Sources, Sinks map[string]func() any }

// Listener is implemented by the section of a source that listens: two may share an address by different paths if
// they agree on the files for TLS, which are empty for plain HTTP.
type Listener interface {
	Listener() (listen, path, certFile, keyFile string)
}

// Targeter is implemented by the section of a sink: two with one Target fail together, so that neither can be the
// error output of the other. Such as a bucket with its endpoint, or a folder.
type Targeter interface{ Target() string }
