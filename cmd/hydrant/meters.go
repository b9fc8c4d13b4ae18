package main

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
)

// meters are the metrics that are counted as things happen. Those that the parts count themselves are collected from
// their states: see metrics.go.
type meters struct {
	registry *prometheus.Registry
	records  *prometheus.CounterVec   // stream, source
	bytes    *prometheus.CounterVec   // stream, source
	appends  *prometheus.CounterVec   // stream, source, outcome
	seconds  *prometheus.HistogramVec // stream, source
	answers  *prometheus.CounterVec   // listen, path, status
	syncs    *prometheus.CounterVec   // point
	syncTime *prometheus.CounterVec   // point
}

func newMeters() *meters {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &meters{
		registry: prometheus.NewRegistry(),
		records:  counter("hydrant_ingest_records_total", "Records taken in.", "stream", "source"),
		bytes:    counter("hydrant_ingest_bytes_total", "Bytes of the records taken in.", "stream", "source"),
		appends:  counter("hydrant_ingest_appends_total", "Appends to the log by outcome: ok, full, too_large, closed, poisoned, other.", "stream", "source", "outcome"),
		answers:  counter("hydrant_ingest_http_answers_total", "HTTP answers of the doors by status code.", "listen", "path", "status"),
		syncs:    counter("hydrant_disk_syncs_total", "Syncs of files and directories, failed ones included.", "point"),
		syncTime: counter("hydrant_disk_sync_seconds_total", "Time spent in syncs.", "point"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hydrant_ingest_append_seconds", Help: "Time from an append to its acknowledgement.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8),
		}, []string{"stream", "source"}),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "hydrant_build_info", Help: "1, labelled with the version."}, []string{"version"})
	build.WithLabelValues(version()).Set(1)
	m.registry.MustRegister(m.records, m.bytes, m.appends, m.seconds, m.answers, m.syncs, m.syncTime, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// answered counts an HTTP answer.
func (m *meters) answered(listen, path string, status int) {
	m.answers.WithLabelValues(listen, path, strconv.Itoa(status)).Inc()
}

// doorMeter counts for one source.
type doorMeter struct {
	records, bytes prometheus.Counter
	appends        *prometheus.CounterVec
	seconds        prometheus.Observer
}

func (m *meters) door(stream, source string) doorMeter {
	return doorMeter{
		records: m.records.WithLabelValues(stream, source),
		bytes:   m.bytes.WithLabelValues(stream, source),
		appends: m.appends.MustCurryWith(prometheus.Labels{"stream": stream, "source": source}),
		seconds: m.seconds.WithLabelValues(stream, source),
	}
}

// appended counts one append.
func (m doorMeter) appended(w *buffer.Write, took time.Duration, err error) {
	outcome := "ok"
	switch {
	case err == nil:
		if w.Batch != nil {
			m.records.Add(float64(w.Batch.Len()))
			m.bytes.Add(float64(w.Batch.Bytes()))
		}
		m.seconds.Observe(took.Seconds())
	case errors.Is(err, buffer.ErrFull):
		outcome = "full"
	case errors.Is(err, buffer.ErrTooLarge):
		outcome = "too_large"
	case errors.Is(err, buffer.ErrClosed):
		outcome = "closed"
	case errors.Is(err, buffer.ErrPoisoned):
		outcome = "poisoned"
	default:
		outcome = "other"
	}
	m.appends.WithLabelValues(outcome).Inc()
}

// meteredFS counts the syncs of a file system.
type meteredFS struct {
	hydrant.FS
	clock  hydrant.Clock
	meters *meters
}

// Open implements hydrant.FS.
func (m meteredFS) Open(name string, flag int) (hydrant.File, error) {
	f, err := m.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return meteredFile{f, m}, nil
}

type meteredFile struct {
	hydrant.File
	fs meteredFS
}

// Sync implements hydrant.File.
func (f meteredFile) Sync(p hydrant.Point) error {
	began := f.fs.clock.Mono()
	err := f.File.Sync(p)
	f.fs.meters.syncs.WithLabelValues(string(p)).Inc()
	f.fs.meters.syncTime.WithLabelValues(string(p)).Add((f.fs.clock.Mono() - began).Seconds())
	return err
}
