package main

import (
	"github.com/hydrantd/hydrant/config"
	"github.com/hydrantd/hydrant/ingest"
	"github.com/hydrantd/hydrant/ingest/http"
	"github.com/hydrantd/hydrant/ingest/stdin"
	"github.com/hydrantd/hydrant/sinks"
	"github.com/hydrantd/hydrant/sinks/file"
	"github.com/hydrantd/hydrant/sinks/s3"
)

// kinds are the doors and destinations that a configuration may name.
type kinds struct {
	sources map[string]ingest.Kind
	sinks   map[string]sinks.Kind
}

// builtin are those of this program: a new one is a folder of its own and a line here.
var builtin = kinds{
	sources: map[string]ingest.Kind{
		"http":  http.Kind,
		"stdin": stdin.Kind,
	},
	sinks: map[string]sinks.Kind{
		"file": file.Kind,
		"s3":   s3.Kind,
	},
}

// config is what the configuration needs of them.
func (k kinds) config() config.Kinds {
	c := config.Kinds{Sources: map[string]func() any{}, Sinks: map[string]func() any{}}
	for name, kind := range k.sources {
		c.Sources[name] = kind.Config
	}
	for name, kind := range k.sinks {
		c.Sinks[name] = kind.Config
	}
	return c
}
