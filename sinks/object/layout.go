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

// longestSuffix is the longest that error records have.
const longestSuffix = "-transform-failed"

// rest is how many bytes follow the prefix in the names of a destination's objects, at the most.
func (l *Layout) rest(pipeline, destination string, errorOutput bool) int {
	n := len(pipeline) + len(destination) + len("--2006-01-02-15-04-05-") + 16 + len("-01234567-") + 16 + len("-") + 16
	if errorOutput {
		n += len(longestSuffix + ".json")
	}
	if c, err := newCodec(l.Compression, 0); err == nil {
		n += len(c.ext)
	}
	return n
}

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
	if p.weekYear {
		r.Warning("prefix", "Y is the week-based year, which differs from the calendar's around New Year", "write yyyy")
	}
	if strings.Contains(l.Prefix, "\x00") {
		r.Problem("prefix", "a zero byte", "text")
	}
	if wrong := (*prefixError)(nil); errors.As(err, &wrong) {
		r.Problem("prefix", wrong.found, wrong.want)
		return
	}
	if counted, _, _ := p.longest(); counted > maxEvaluated {
		r.Problem("prefix", fmt.Sprintf("Length of evaluated prefix cannot be greater than %d: it becomes %d", maxEvaluated, counted), "a shorter one")
	}
}

// CheckNames implements config.NameChecker.
func (l *Layout) CheckNames(r *config.Report, pipeline, destination string, errorOutput bool) {
	p, err := parsePrefix(l.Prefix)
	if err != nil {
		return
	}
	if p.errorType && !errorOutput {
		r.Problem("prefix", "!{firehose:error-output-type} in a destination", "take it out: it is for error outputs")
	}
	counted, bytes, _ := p.longest()
	if most := maxKey - l.rest(pipeline, destination, errorOutput); counted <= maxEvaluated && bytes > most {
		r.Problem("prefix", fmt.Sprintf("it becomes %d bytes, and names can become longer than S3's %d bytes", bytes, maxKey), fmt.Sprintf("at most %d bytes", most))
	}
}

// LongestName is the most bytes that can stand behind the last slash of an object's name; 0 if the prefix is wrong.
func (l *Layout) LongestName(pipeline, destination string, errorOutput bool) int {
	p, err := parsePrefix(l.Prefix)
	if err != nil {
		return 0
	}
	_, _, last := p.longest()
	return last + l.rest(pipeline, destination, errorOutput)
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
