// Package config is the YAML file as structs: what can be set, the defaults, and the rules between settings.
// It opens nothing but the file itself and the secrets that it names.
package config

import "time"

// Config is a whole file, checked.
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
	Level  string // debug | info | warn | error
	Format string // text | json
}

// Shutdown says what the first SIGTERM does.
type Shutdown struct {
	Grace time.Duration
	Drain bool
}

// Admin is the listener of /metrics, /healthz, /readyz and /status; off when Listen is empty.
type Admin struct{ Listen string }

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
	Shards    int
	Retention time.Duration
	MaxBytes  Size
}

// Destination is one sink with its own cursor. What a pipeline sets for all of them is merged in.
type Destination struct {
	Name        string
	Sink        Part
	Batch       Batch
	GiveUpAfter time.Duration // 0 = never
	Concurrency int
	ErrorOutput Part // a file below the data directory when none is given
}

// Batch says when a batch ends.
type Batch struct {
	Size     Size // bytes before function and compression
	Interval time.Duration
}

// Size is a number of bytes, written with a unit: 5MiB, 64kB.
type Size int64

// Secret is a string that never prints. Value gives it out.
type Secret struct{ value string }

// Place is where something stands in the file, from 1.
type Place struct{ Line, Col int }
