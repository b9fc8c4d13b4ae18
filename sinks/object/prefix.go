package object

//lint:file-ignore ST1005 Errors of prefixes begin with Firehose's own words.

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// The limits of Firehose, and of S3 for the whole name.
const (
	maxPrefix    = 1024 // characters of the expression
	maxEvaluated = 512  // characters of what it becomes, the date that is appended not counted
	maxKey       = 1024 // bytes of a key
)

const defaultDate = "yyyy/MM/dd/HH/"

// prefix is a compiled prefix expression.
type prefix struct {
	parts     []part
	appended  pattern // the date of a prefix without a timestamp; empty otherwise
	weekYear  bool
	errorType bool // has !{firehose:error-output-type}
}

// part appends one part of an evaluated prefix.
type part func(dst []byte, at instant) ([]byte, error)

// instant is what a prefix is evaluated for.
type instant struct {
	time   time.Time // in the zone of the layout, whole seconds
	kind   string    // error-output-type; "" for records
	random io.Reader
}

// prefixError is a mistake in a prefix: what was found, in Firehose's own words where it has some, and what would be right.
type prefixError struct{ found, want string }

func (e *prefixError) Error() string { return e.found + ", " + e.want }

const seeDocs = "see the documentation of prefixes"

func mistake(found string, values ...any) error {
	return &prefixError{fmt.Sprintf(found, values...), seeDocs}
}

// parsePrefix compiles a prefix expression. An error is a *prefixError, of the first mistake; weekYear is right also then.
func parsePrefix(s string) (p prefix, err error) {
	if n := utf8.RuneCountInString(s); n > maxPrefix {
		return p, &prefixError{fmt.Sprintf("%d characters", n), fmt.Sprintf("at most %d", maxPrefix)}
	}
	if !utf8.ValidString(s) {
		return p, &prefixError{"not valid UTF-8", "text"}
	}
	dated := false
	for rest := s; rest != ""; {
		before, after, found := strings.Cut(rest, "!{")
		if before != "" {
			p.parts = append(p.parts, fixed(before))
		}
		if !found {
			break
		}
		inside, next, closed := strings.Cut(after, "}")
		namespace, value, colon := strings.Cut(inside, ":")
		if !closed || !colon || namespace == "" || value == "" {
			err = cmp.Or(err, mistake("Invalid expression usage: %s. Must be of the form !{<namespace>:<value>}", s))
		} else if e := p.expression(namespace, value); e != nil {
			err = cmp.Or(err, e)
		}
		dated = dated || namespace == "timestamp"
		rest = next
	}
	if !dated {
		p.appended, _ = parsePattern(defaultDate)
	}
	return p, err
}

func (p *prefix) expression(namespace, value string) error {
	switch namespace {
	case "timestamp":
		times, err := parsePattern(value)
		p.weekYear = p.weekYear || times.weekYear
		if err != nil {
			return mistake("Invalid conversion character used in the value of the expression in Prefix: !{timestamp:%s}: %v", value, err)
		}
		p.parts = append(p.parts, func(dst []byte, at instant) ([]byte, error) { return times.append(dst, at.time), nil })
		return nil
	case "firehose":
		switch value {
		case "random-string":
			p.parts = append(p.parts, randomString)
			return nil
		case "error-output-type":
			p.errorType = true
			p.parts = append(p.parts, func(dst []byte, at instant) ([]byte, error) { return append(dst, at.kind...), nil })
			return nil
		}
		return &prefixError{"Invalid conversion character used in the value of the expression in Prefix: !{firehose:" + value + "}",
			"random-string or error-output-type to the right of the colon"}
	case "partitionKeyFromQuery", "partitionKeyFromLambda":
		return mistake("!{%s:%s}: dynamic partitioning is not supported", namespace, value)
	}
	return &prefixError{"Namespace to the left of colon (" + namespace + ") is an invalid keyword! There is no such namespace",
		"write timestamp or firehose to the left of the colon"}
}

func fixed(text string) part {
	return func(dst []byte, _ instant) ([]byte, error) { return append(dst, text...), nil }
}

// randomString is 11 characters that look like the head of a UUID, new for each instance.
func randomString(dst []byte, at instant) ([]byte, error) {
	var b [5]byte
	if _, err := io.ReadFull(at.random, b[:]); err != nil {
		return dst, fmt.Errorf("random-string: %w", err)
	}
	dst = hex.AppendEncode(dst, b[:4])
	dst = append(dst, '-')
	return hex.AppendEncode(dst, b[4:]), nil
}

// evaluate is the prefix of an object. counted is its length in characters as Firehose counts it.
func (p prefix) evaluate(at instant) (text string, counted int, err error) {
	var b []byte
	for _, f := range p.parts {
		if b, err = f(b, at); err != nil {
			return "", 0, err
		}
	}
	counted = utf8.RuneCount(b)
	return string(p.appended.append(b, at.time)), counted, nil
}

// longest evaluates the prefix for a year's times and the longest kind of error output.
func (p prefix) longest() (counted, bytes, last int) {
	first := time.Date(2028, 1, 1, 0, 0, 0, 0, time.FixedZone("America/Argentina/ComodRivadavia", -3*3600-59))
	for day := range 366 {
		at := instant{time: first.Add(time.Duration(day) * 25 * time.Hour), kind: "format-conversion-failed", random: zeros{}}
		text, n, _ := p.evaluate(at) // zeros never fail
		counted = max(counted, n)
		bytes = max(bytes, len(text))
		last = max(last, len(text)-strings.LastIndexByte(text, '/')-1)
	}
	return counted, bytes, last
}

// zeros is an endless reader of zero bytes.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
