package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"
)

const errorOutputKey = "error_output" // the one section with a kind that is in no list

// errorOutputs are the kinds of sinks that can be an error output.
var errorOutputs = []string{"file", "s3"}

// pipelines decodes the pipelines in the order of the file.
func (d *decoder) pipelines(r *Report, from raw, dataDir string) []Pipeline {
	const want = "write at least one, with sources and destinations"
	switch {
	case from.value == nil:
		r.Problem("pipelines", "nothing", want)
		return nil
	case from.value.kind == mappingNode && len(from.value.entries) > 0:
	case from.value.kind == mappingNode || from.value.kind == nullNode:
		d.add(Problem{Place: from.at, Found: "pipelines: nothing", Want: want})
		return nil
	default:
		d.add(Problem{Place: from.place(), Found: "pipelines: " + from.value.describe(), Want: "write NAME: {sources: …, destinations: …}"})
		return nil
	}
	var out []Pipeline
	names := map[string]string{}
	for _, e := range from.value.entries {
		d.checkName(e.at, "pipeline", e.key, names)
		out = append(out, d.pipeline(e, dataDir))
	}
	return out
}

func (d *decoder) pipeline(e entry, dataDir string) Pipeline {
	keys := defaultPipeline()
	d.into(e, reflect.ValueOf(&keys).Elem())
	p := Pipeline{Name: e.key, Buffer: keys.Buffer}
	if e.value.bad {
		return p
	}
	r := &Report{d, e}
	checkBuffer(r, keys.Buffer)
	checkBatch(r, keys.Batch)
	for _, item := range d.items(r, keys.Sources, "sources", "stdin: {}") {
		if part, ok := d.source(item); ok {
			p.Sources = append(p.Sources, part)
		}
	}
	shared, given := d.errorOutput(keys.ErrorOutput)
	if !given {
		shared = d.defaultErrorOutput(filepath.Join(dataDir, "errors", p.Name), e.at)
	}
	names := map[string]string{}
	for _, item := range d.items(r, keys.Destinations, "destinations", "file: {path: ./out}") {
		if dest, ok := d.destination(item, r, &keys, shared, given, names); ok {
			p.Destinations = append(p.Destinations, dest)
		}
	}
	checkMaxBytes(r, p)
	return p
}

// items are the mappings in the list of sources or destinations, of which there must be one at least.
func (d *decoder) items(r *Report, from raw, key, example string) []entry {
	want := fmt.Sprintf("write a list with at least one, such as - %s", example)
	switch {
	case from.value == nil:
		r.Problem(key, "nothing", want)
		return nil
	case from.value.kind == nullNode || from.value.kind == listNode && len(from.value.items) == 0:
		d.add(Problem{Place: from.at, Found: key + ": nothing", Want: want})
		return nil
	case from.value.kind != listNode:
		d.add(Problem{Place: from.place(), Found: key + ": " + from.value.describe(), Want: want})
		return nil
	}
	var out []entry
	for _, item := range from.value.items {
		if item.kind != mappingNode || len(item.entries) == 0 {
			d.add(Problem{Place: item.at, Found: "an item of " + key + " that is " + emptiness(item), Want: "write one kind with its settings, such as - " + example})
			continue
		}
		out = append(out, entry{key: key, at: item.at, value: item})
	}
	return out
}

func emptiness(n *node) string {
	if n.kind == mappingNode {
		return "empty"
	}
	return n.describe()
}

func (d *decoder) source(item entry) (Part, bool) {
	known := slices.Sorted(maps.Keys(d.kinds.Sources))
	return d.oneKind(item, "source", d.fields(item, reflect.ValueOf(&struct{}{}).Elem(), known), known, d.kinds.Sources)
}

// oneKind decodes the kind of an item: exactly one of its keys names one.
func (d *decoder) oneKind(item entry, what string, kinds []entry, known []string, from map[string]func() any) (Part, bool) {
	want := "write an item of its own for each"
	if what == errorOutputKey {
		want = "keep one of them"
	}
	for i, extra := range kinds {
		if i > 0 {
			d.add(Problem{Place: extra.at, Found: fmt.Sprintf("a second kind in one %s, %s beside %s", what, extra.key, kinds[0].key), Want: want})
		}
	}
	if len(kinds) > 0 {
		return d.part(kinds[0], from), true
	}
	if !item.value.unknown { // else that is the kind, probably
		d.add(Problem{Place: item.at, Found: "a " + what + " without a kind", Want: "one of " + strings.Join(known, ", ")})
	}
	return Part{}, false
}

// part decodes the section of a kind and lets it check itself.
func (d *decoder) part(e entry, from map[string]func() any) Part {
	value := from[e.key]()
	if e.value.kind == nullNode {
		e.value.bad = true
		d.add(Problem{Place: e.at, Found: e.key + ": nothing", Want: "indent its settings below it, or write " + e.key + ": {} to take all defaults"})
	} else {
		d.into(e, reflect.ValueOf(value).Elem())
	}
	if c, ok := value.(Checker); ok && !e.value.bad {
		c.Check(&Report{d, e})
	}
	if c, ok := value.(NameChecker); ok {
		d.sections[c] = e
	}
	return Part{Kind: e.key, Value: value, At: e.at}
}

// checkNames lets the sections of a destination check what depends on its name. A default error output has no section.
func (d *decoder) checkNames(pipeline, destination string, sink, errorOutput Part) {
	if !name.MatchString(pipeline) || !name.MatchString(destination) {
		return // that is a problem already
	}
	for i, part := range []Part{sink, errorOutput} {
		if c, ok := part.Value.(NameChecker); ok {
			if at, ok := d.sections[c]; ok && !at.value.bad {
				c.CheckNames(&Report{d, at}, pipeline, destination, i == 1)
			}
		}
	}
}

func (d *decoder) destination(item entry, pipeline *Report, shared *pipelineKeys, errorOutput Part, given bool, names map[string]string) (Destination, bool) {
	known := slices.Sorted(maps.Keys(d.kinds.Sinks))
	keys := defaultDestination(shared)
	sink, ok := d.oneKind(item, "destination", d.fields(item, reflect.ValueOf(&keys).Elem(), known), known, d.kinds.Sinks)
	r := &Report{d, item}
	checkDestination(r, &keys)
	if own, ok := d.errorOutput(keys.ErrorOutput); ok {
		errorOutput, given = own, true
	}
	if !ok {
		return Destination{}, false
	}
	if r.Given("name") {
		if at, _, bad := r.resolve("name"); !bad {
			d.checkName(at.place(), "destination", keys.Name, names)
		}
	} else {
		keys.Name = sink.Kind
		if _, taken := names[strings.ToLower(keys.Name)]; taken {
			d.add(Problem{Place: sink.At, Found: "a second destination named " + keys.Name, Want: "give it a name: of its own"})
		}
		names[strings.ToLower(keys.Name)] = keys.Name
	}
	checkErrorOutput(r, pipeline, &keys, sink, errorOutput, given)
	d.checkNames(pipeline.at.key, keys.Name, sink, errorOutput)
	return Destination{
		Name: keys.Name, Sink: sink, Batch: keys.Batch, GiveUpAfter: time.Duration(keys.Retry.GiveUpAfter),
		Concurrency: keys.Concurrency, ErrorOutput: errorOutput,
	}, true
}

// errorOutput decodes one that the file gives. Given is true also when it is wrong.
func (d *decoder) errorOutput(from raw) (part Part, given bool) {
	if from.value == nil {
		return Part{}, false
	}
	known := slices.DeleteFunc(slices.Clone(errorOutputs), func(k string) bool { return d.kinds.Sinks[k] == nil })
	if from.value.kind != mappingNode || len(from.value.entries) == 0 {
		if !from.value.bad {
			from.value.bad = true
			d.add(Problem{Place: from.place(), Found: "error_output: " + emptiness(from.value), Want: "write it as {file: {path: ./errors}}"})
		}
		return Part{}, true
	}
	part, _ = d.oneKind(from.entry, errorOutputKey, d.fields(from.entry, reflect.ValueOf(&struct{}{}).Elem(), known), known, d.kinds.Sinks)
	return part, true
}

// defaultErrorOutput is a file output in folder, uncompressed so that it can be read at once.
func (d *decoder) defaultErrorOutput(folder string, at Place) Part {
	kind := d.kinds.Sinks["file"]
	if kind == nil {
		return Part{}
	}
	value := kind()
	section := &node{kind: mappingNode, at: at}
	for _, f := range fieldsOf(reflect.TypeOf(value).Elem()) {
		for _, set := range [][2]string{{"path", folder}, {"compression", "none"}} {
			if f.key == set[0] {
				text := &node{kind: textNode, at: at, source: set[1], value: set[1]}
				section.set(entry{key: f.key, at: at, value: text})
			}
		}
	}
	d.into(entry{key: "file", at: at, value: section}, reflect.ValueOf(value).Elem())
	return Part{Kind: "file", Value: value, At: at}
}
