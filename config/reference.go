package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Key is one setting as the reference shows it.
type Key struct{ Name, Type, Default, Doc string }

// Section is a group of settings: those of one kind, or of one place in the file.
type Section struct {
	Title string
	Keys  []Key
}

// Sections lists every setting there is, in the order of the file. The docs come from `doc` tags, and a default that no
// value shows comes from a `default` tag.
func Sections(kinds Kinds) []Section {
	file, pipeline := defaultFile(), defaultPipeline()
	destination := defaultDestination(&pipeline)
	// What a destination takes over from its pipeline has no default of its own.
	inherited := func(k Key) Key {
		if strings.HasPrefix(k.Name, "batch.") || strings.HasPrefix(k.Name, "retry.") {
			k.Default, k.Doc = "the pipeline's", "Overrides the pipeline's."
		}
		return k
	}
	out := []Section{
		{"The file", keysOf(reflect.ValueOf(file), "")},
		{"pipelines.NAME", keysOf(reflect.ValueOf(pipeline), "")},
		{"An item of pipelines.NAME.destinations, beside its kind", keysOf(reflect.ValueOf(destination), "")},
	}
	for i, k := range out[2].Keys {
		out[2].Keys[i] = inherited(k)
	}
	for _, group := range []struct {
		title string
		kinds map[string]func() any
	}{{"Source", kinds.Sources}, {"Destination", kinds.Sinks}} {
		for _, kind := range slices.Sorted(maps.Keys(group.kinds)) {
			out = append(out, Section{group.title + " " + kind, keysOf(reflect.ValueOf(group.kinds[kind]()).Elem(), "")})
		}
	}
	return out
}

// Reference is all settings as Markdown, for the README.
func Reference(kinds Kinds) string {
	var b strings.Builder
	cell := strings.NewReplacer("|", "\\|", "\n", " ")
	for i, s := range Sections(kinds) {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "### %s\n\n", s.Title)
		if len(s.Keys) == 0 {
			b.WriteString("No settings: `{}`.\n")
			continue
		}
		b.WriteString("| key | type | default | |\n|---|---|---|---|\n")
		for _, k := range s.Keys {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Name, cell.Replace(k.Type), cell.Replace(k.Default), cell.Replace(k.Doc))
		}
	}
	return b.String()
}

// keysOf lists the keys of a struct that holds the defaults; those of structs in it have dotted names.
func keysOf(v reflect.Value, prefix string) []Key {
	var out []Key
	for _, f := range fieldsOf(v.Type()) {
		value, typ := v.FieldByIndex(f.index), f.typ
		if typ.Kind() == reflect.Pointer && typ.Elem().Kind() == reflect.Struct && typ.Elem() != secretType {
			typ = typ.Elem()
			if value.IsNil() {
				value = reflect.Zero(typ)
			} else {
				value = value.Elem()
			}
		}
		if typ.Kind() == reflect.Struct && typ != secretType && typ != rawType {
			out = append(out, keysOf(value, prefix+f.key+".")...)
			continue
		}
		k := Key{Name: prefix + f.key, Type: shortType(typ), Default: f.tag.Get("default"), Doc: f.tag.Get("doc")}
		if k.Default == "" {
			k.Default = defaultText(value)
		}
		out = append(out, k)
	}
	return out
}

// shortType is a type in one word.
func shortType(t reflect.Type) string {
	switch t {
	case rawType:
		return "see below"
	case secretType:
		return "secret"
	case sizeType:
		return "size"
	case pathType:
		return "path"
	case durationType:
		return "duration"
	case patienceType:
		return "never or duration"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return shortType(t.Elem())
	case reflect.Slice:
		return "list of " + shortType(t.Elem())
	case reflect.Map:
		return "mapping"
	case reflect.Bool:
		return "bool"
	case reflect.String:
		return "text"
	}
	return "number"
}

// defaultText is a default as it would be written in the file; a dash where there is none.
func defaultText(v reflect.Value) string {
	switch v.Type() {
	case rawType, secretType:
		return "–"
	case sizeType:
		return code(Size(v.Int()).String())
	case durationType:
		return code(FormatDuration(time.Duration(v.Int())))
	case patienceType:
		return code(never)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return "–"
		}
		return defaultText(v.Elem())
	case reflect.Slice, reflect.Map:
		if v.Len() == 0 {
			return "–"
		}
	case reflect.String:
		switch {
		case v.Len() == 0:
			return "–"
		case strings.ContainsAny(v.String(), "\n\t"):
			return code(fmt.Sprintf("%q", v.String()))
		}
	}
	return code(fmt.Sprint(v.Interface()))
}

func code(s string) string { return "`" + s + "`" }
