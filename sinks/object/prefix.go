package object

//lint:file-ignore ST1005 Errors of prefixes begin with Firehose's own words.

import (
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

// parsePrefix compiles a prefix expression. Its errors begin with Firehose's own words.
func parsePrefix(s string) (prefix, error) {
	var p prefix
	if n := utf8.RuneCountInString(s); n > maxPrefix {
		return p, fmt.Errorf("%d characters, at most %d", n, maxPrefix)
	}
	if !utf8.ValidString(s) {
		return p, fmt.Errorf("not valid UTF-8")
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
			return p, fmt.Errorf("Invalid expression usage: %s. Must be of the form !{<namespace>:<value>}", s)
		}
		if err := p.expression(namespace, value); err != nil {
			return p, err
		}
		dated = dated || namespace == "timestamp"
		rest = next
	}
	if !dated {
		p.appended, _ = parsePattern(defaultDate)
	}
	return p, nil
}

func (p *prefix) expression(namespace, value string) error {
	switch namespace {
	case "timestamp":
		times, err := parsePattern(value)
		if err != nil {
			return fmt.Errorf("Invalid conversion character used in the value of the expression in Prefix: !{timestamp:%s}: %w", value, err)
		}
		p.weekYear = p.weekYear || times.weekYear
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
		return fmt.Errorf("Invalid conversion character used in the value of the expression in Prefix: !{firehose:%s}: "+
			"random-string or error-output-type", value)
	case "partitionKeyFromQuery", "partitionKeyFromLambda":
		return fmt.Errorf("!{%s:%s}: dynamic partitioning is not supported", namespace, value)
	}
	return fmt.Errorf("Namespace to the left of colon (%s) is an invalid keyword! timestamp or firehose", namespace)
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
