package config

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// decoder turns one file into structs and collects what is wrong with it.
type decoder struct {
	file, dir string // the file's name as given; its folder, absolute
	env       func(string) (string, bool)
	readFile  func(path string, limit int64) ([]byte, error)
	kinds     Kinds
	problems  []Problem
	sections  map[NameChecker]entry // of the sinks decoded so far
}

// raw takes an entry undecoded. Its value is nil when the key is absent.
type raw struct{ entry }

// patience is how long a delivery tries before it gives up: a duration, or `never`, which is 0.
type patience time.Duration

const never = "never"

var (
	rawType      = reflect.TypeFor[raw]()
	secretType   = reflect.TypeFor[Secret]()
	sizeType     = reflect.TypeFor[Size]()
	pathType     = reflect.TypeFor[Path]()
	durationType = reflect.TypeFor[time.Duration]()
	patienceType = reflect.TypeFor[patience]()
)

func (d *decoder) add(p Problem) {
	p.File = d.file
	d.problems = append(d.problems, p)
}

// refuse reports a value and marks it, so that nothing more is said of it.
func (d *decoder) refuse(n *node, name, found, want string) {
	n.bad = true
	d.add(Problem{Place: n.at, Found: name + ": " + found, Want: want})
}

// into decodes the value of e into v. Where it cannot, v keeps what it holds and the value is marked bad.
func (d *decoder) into(e entry, v reflect.Value) {
	n := e.value
	if v.Type() == rawType {
		v.Set(reflect.ValueOf(raw{e}))
		return
	}
	if n.bad {
		return
	}
	if n.kind == nullNode {
		n.bad = true
		d.add(Problem{Place: e.at, Found: e.key + ": nothing", Want: "write a value or leave the key out: it takes " + typeName(v.Type())})
		return
	}
	switch v.Type() {
	case secretType, sizeType, pathType, durationType, patienceType:
		d.scalar(e, v)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		fresh := reflect.New(v.Type().Elem())
		if !v.IsNil() {
			fresh.Elem().Set(v.Elem()) // defaults are shared: they are copied, never written to
		}
		d.into(e, fresh.Elem())
		v.Set(fresh)
	case reflect.Struct:
		d.fields(e, v, nil)
	case reflect.Slice:
		d.list(e, v)
	case reflect.Map:
		d.mapping(e, v)
	default:
		d.scalar(e, v)
	}
}

// fields decodes a mapping into a struct. Keys among extra are left to the caller and returned; others that the struct does not
// have are problems.
func (d *decoder) fields(e entry, v reflect.Value, extra []string) (rest []entry) {
	defer d.absolutePaths(v)
	n := e.value
	if n.kind != mappingNode {
		d.wrongType(e, v.Type())
		return nil
	}
	fields := fieldsOf(v.Type())
	for _, below := range n.entries {
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == below.key })
		switch {
		case i >= 0:
			d.into(below, v.FieldByIndex(fields[i].index))
		case slices.Contains(extra, below.key):
			rest = append(rest, below)
		default:
			keys := slices.Clone(extra)
			for _, f := range fields {
				keys = append(keys, f.key)
			}
			d.unknown(n, below, "key", keys)
		}
	}
	return rest
}

// absolutePaths makes the relative paths directly in a struct absolute, defaults among them.
func (d *decoder) absolutePaths(v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		if f.typ == pathType {
			if p := v.FieldByIndex(f.index); p.Len() > 0 {
				p.SetString(d.absolute(p.String()))
			}
		}
	}
}

// unknown reports a key that is none, with the one that was probably meant.
func (d *decoder) unknown(in *node, e entry, what string, keys []string) {
	want := "it takes no keys here"
	if len(keys) > 0 {
		want = "one of " + strings.Join(keys, ", ")
	}
	in.unknown = true
	if near := nearest(e.key, keys); near != "" {
		want = "did you mean " + near + "?"
		if in.misspelt == nil {
			in.misspelt = map[string]bool{}
		}
		in.misspelt[near] = true
	}
	d.add(Problem{Place: e.at, Found: "the unknown " + what + " " + quote(e.key), Want: want})
}

func (d *decoder) list(e entry, v reflect.Value) {
	if e.value.kind != listNode {
		d.wrongType(e, v.Type())
		return
	}
	out := reflect.MakeSlice(v.Type(), len(e.value.items), len(e.value.items))
	for i, item := range e.value.items {
		d.into(entry{key: e.key, at: item.at, value: item}, out.Index(i))
	}
	v.Set(out)
}

func (d *decoder) mapping(e entry, v reflect.Value) {
	if e.value.kind != mappingNode {
		d.wrongType(e, v.Type())
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(e.value.entries))
	for _, below := range e.value.entries {
		value := reflect.New(v.Type().Elem()).Elem()
		d.into(below, value)
		out.SetMapIndex(reflect.ValueOf(below.key).Convert(v.Type().Key()), value)
	}
	v.Set(out)
}

// wrongType reports a value that is something else altogether.
func (d *decoder) wrongType(e entry, want reflect.Type) {
	found := e.value.describe()
	if want == secretType && e.value.scalar() {
		found = "a " + map[nodeKind]string{boolNode: "true or false", numberNode: "number", textNode: "text"}[e.value.kind]
	}
	at := e.place()
	e.value.bad = true
	d.add(Problem{Place: at, Found: e.key + ": " + found, Want: "write " + typeName(want)})
}

// scalar decodes a single value. One that holds something of the environment is typed by where it stands.
func (d *decoder) scalar(e entry, v reflect.Value) {
	n := e.value
	if !n.scalar() {
		d.wrongType(e, v.Type())
		return
	}
	switch v.Type() {
	case sizeType:
		size, err := ParseSize(n.value)
		d.unit(e, v, int64(size), err, "10MiB")
		return
	case durationType:
		t, err := ParseDuration(n.value)
		d.unit(e, v, int64(t), err, "60s")
		return
	case patienceType:
		if n.value == never {
			v.SetInt(0)
			return
		}
		t, err := ParseDuration(n.value)
		if err == nil && t < time.Second {
			err = &UnitError{n.describe(), "at least 1s, or never"}
		}
		d.unit(e, v, int64(t), err, "1h or never")
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		if n.value != "true" && n.value != "false" || n.kind == textNode && !n.fromEnv {
			d.wrongType(e, v.Type())
			return
		}
		v.SetBool(n.value == "true")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		d.number(e, v)
	default:
		d.text(e, v)
	}
}

// unit sets a size or a duration, or reports what is wrong with it: in general words if it came from the environment.
func (d *decoder) unit(e entry, v reflect.Value, value int64, err error, example string) {
	if err == nil {
		v.SetInt(value)
		return
	}
	wrong := err.(*UnitError)
	found, want := wrong.Found, wrong.Want
	if e.value.fromEnv {
		found, want = quote(e.value.source)+", which is not "+typeName(v.Type()), "set it to something like "+example
	}
	d.refuse(e.value, e.key, found, want)
}

func (d *decoder) number(e entry, v reflect.Value) {
	n := e.value
	bits := v.Type().Bits()
	var err error
	switch {
	case n.kind != numberNode && !n.fromEnv:
		d.wrongType(e, v.Type())
		return
	case v.CanInt():
		var i int64
		if i, err = strconv.ParseInt(n.value, 10, bits); err == nil {
			v.SetInt(i)
		}
	case v.CanUint():
		var u uint64
		if u, err = strconv.ParseUint(n.value, 10, bits); err == nil {
			v.SetUint(u)
		}
	default:
		var f float64
		if f, err = strconv.ParseFloat(n.value, bits); err == nil && (math.IsNaN(f) || math.IsInf(f, 0)) {
			err = strconv.ErrRange
		}
		if err == nil {
			v.SetFloat(f)
		}
	}
	if err != nil {
		d.wrongType(e, v.Type())
	}
}

// text decodes into anything whose kind is string.
func (d *decoder) text(e entry, v reflect.Value) {
	n := e.value
	if n.kind != textNode && !n.fromEnv {
		want := "put it in quotes"
		if v.Type() != secretType {
			want += fmt.Sprintf(" if it is meant as text: %q", n.source)
			d.refuse(n, e.key, n.describe(), want)
			return
		}
		d.refuse(n, e.key, "a number or true or false", want)
		return
	}
	switch v.Type() {
	case secretType:
		value := n.value
		if strings.HasPrefix(value, "file:") {
			var ok bool
			if value, ok = d.secretFile(n, e.key); !ok {
				return
			}
		}
		if value == "" {
			d.refuse(n, e.key, "an empty secret", "write it, or file:PATH, or leave the key out")
			return
		}
		v.Set(reflect.ValueOf(NewSecret(value)))
	case pathType:
		switch {
		case n.value == "":
			d.refuse(n, e.key, "an empty path", "write a path or leave the key out")
		case n.value == "~" || strings.HasPrefix(n.value, "~/"):
			d.refuse(n, e.key, "a path that starts with ~, which only a shell knows", "write the whole path or ${HOME}/…")
		case strings.ContainsRune(n.value, 0):
			d.refuse(n, e.key, "a path with a zero byte", "write a path")
		default:
			v.SetString(d.absolute(n.value))
		}
	default:
		v.SetString(n.value)
	}
}

// typeName says what a value of type t is to somebody who writes the file.
func typeName(t reflect.Type) string {
	switch t {
	case secretType:
		return "a secret in quotes, or file:PATH"
	case sizeType:
		return "a size such as 10MiB"
	case pathType:
		return "a path"
	case durationType:
		return "a duration such as 60s"
	case patienceType:
		return "never or a duration such as 1h"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Struct:
		return "a mapping (key: value, or {key: value})"
	case reflect.Slice:
		return "a list ([value, value])"
	case reflect.Map:
		return "a mapping of texts ({name: value})"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number without a sign"
	}
	return "a whole number"
}

// field is one key of a struct: those of embedded structs count as its own.
type field struct {
	key   string
	index []int
	typ   reflect.Type
	tag   reflect.StructTag
}

// fieldsOf lists the keys of a struct in their order. A tag `yaml:"name"` names one, `yaml:"-"` hides one, and an embedded
// struct, or one with the option inline, lends its keys.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case name == "-", !f.IsExported() && !f.Anonymous:
		case f.Type.Kind() == reflect.Struct && name == "" && (f.Anonymous || options == "inline"):
			for _, below := range fieldsOf(f.Type) {
				below.index = append([]int{i}, below.index...)
				out = append(out, below)
			}
		case name == "" || !f.IsExported():
			panic(fmt.Sprintf("BUG: %s.%s is no key of a configuration: it needs a yaml tag", t, f.Name))
		default:
			out = append(out, field{name, f.Index, f.Type, f.Tag})
		}
	}
	return out
}
