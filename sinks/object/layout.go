package object

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // time zones also where the system has none

	"github.com/hydrantd/hydrant/config"
)

// Layout is the part of a destination's configuration that says how objects are named and what is in them.
// It is inlined into the sections of the destinations.
type Layout struct {
	Prefix      string `yaml:"prefix" doc:"What stands in front of the object's name: text, !{timestamp:yyyy/MM/dd/HH} (a Java DateTimeFormatter pattern; the arrival of the batch's first record), !{firehose:random-string}, and in an error output !{firehose:error-output-type}. Without a timestamp, yyyy/MM/dd/HH/ is appended."`
	TimeZone    string `yaml:"time_zone" doc:"The time zone of the times in names: UTC or a name such as Europe/Berlin."`
	Compression string `yaml:"compression" doc:"none, gzip or zstd."`
	Level       int    `yaml:"level" default:"6 for gzip, 1 for zstd" doc:"How hard to compress: gzip 1–9, zstd 1–9."`
	Delimiter   string `yaml:"delimiter" doc:"Added after each record that does not end with it. With \"\" nothing is added, as in Firehose."`
}

// Defaults is the layout that nothing was said of.
func Defaults() Layout {
	return Layout{TimeZone: "UTC", Compression: "gzip", Delimiter: "\n"}
}

// maxRest is the most that can follow the prefix in an object's name: names of 64 characters, a suffix of 32 and ".json.zst".
const maxRest = 64 + 64 + len("--2006-01-02-15-04-05-") + 16 + len("-01234567-") + 16 + len("-") + 16 + 32 + len(".json.zst")

// Check implements config.Checker.
func (l *Layout) Check(r *config.Report) {
	if _, err := zone(l.TimeZone); err != nil {
		r.Problem("time_zone", err.Error(), "UTC or a name such as Europe/Berlin")
	}
	if _, err := newCodec(l.Compression, 0); err != nil {
		r.Problem("compression", fmt.Sprintf("%q", l.Compression), "none, gzip or zstd")
	} else if _, err := newCodec(l.Compression, l.Level); err != nil {
		r.Problem("level", fmt.Sprint(l.Level), err.Error())
	} else if l.Compression == "none" && l.Level != 0 {
		r.Warning("level", "there is no compression for it", "leave it out")
	}
	p, err := parsePrefix(l.Prefix)
	if err != nil {
		r.Problem("prefix", err.Error(), "see the documentation of prefixes")
		return
	}
	if p.weekYear {
		r.Warning("prefix", "Y is the week-based year, which differs from the calendar's around New Year", "write yyyy")
	}
	if strings.Contains(l.Prefix, "\x00") {
		r.Problem("prefix", "a zero byte", "text")
	}
	counted, bytes, _ := p.longest()
	if counted > maxEvaluated {
		r.Problem("prefix", fmt.Sprintf("Length of evaluated prefix cannot be greater than %d: it becomes %d", maxEvaluated, counted), "a shorter one")
	} else if bytes+maxRest > maxKey {
		r.Problem("prefix", fmt.Sprintf("it becomes %d bytes, and names can become longer than S3's %d bytes", bytes, maxKey),
			fmt.Sprintf("at most %d bytes", maxKey-maxRest))
	}
}

// ForErrors tells whether the prefix has !{firehose:error-output-type}, which only makes sense in an error output.
func (l *Layout) ForErrors() bool {
	p, err := parsePrefix(l.Prefix)
	return err == nil && p.errorType
}

// LongestName is the most bytes that can stand behind the last slash of an object's name.
func (l *Layout) LongestName() int {
	p, err := parsePrefix(l.Prefix)
	if err != nil {
		return 0
	}
	_, _, last := p.longest()
	return last + maxRest
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

func zone(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, errors.New("the zone Local differs between machines")
	}
	at, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%q is no time zone that is known here", name)
	}
	return at, nil
}
