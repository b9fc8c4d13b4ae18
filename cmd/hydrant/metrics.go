package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// collector turns the states of the logs and deliveries into metrics at each scrape.
type collector struct{ daemon *daemon }

// collect registers what is read from the daemon's parts.
func (m *meters) collect(d *daemon) { m.registry.MustRegister(collector{d}) }

// metric is one that is read from T.
type metric[T any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(T) float64
}

func counter[T any](name, help string, labels []string, value func(T) float64) metric[T] {
	return metric[T]{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue, value}
}

func gauge[T any](name, help string, labels []string, value func(T) float64) metric[T] {
	return metric[T]{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue, value}
}

func (m metric[T]) send(to chan<- prometheus.Metric, of T, labels ...string) {
	to <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(of), labels...)
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

var (
	ofStream   = []string{"stream"}
	ofDelivery = []string{"stream", "delivery"}
)

var bufferMetrics = []metric[pipelineReport]{
	gauge("hydrant_buffer_bytes", "Bytes taken of hydrant_buffer_max_bytes: the log on disk, and what is set aside for the spools, used or not.", ofStream, func(p pipelineReport) float64 { return float64(p.UsedBytes) }),
	gauge("hydrant_buffer_log_bytes", "Bytes of the log on disk.", ofStream, func(p pipelineReport) float64 { return float64(p.DiskBytes) }),
	gauge("hydrant_buffer_max_bytes", "The most bytes that the log and its spools may take, buffer.max_bytes. What is appended is refused before hydrant_buffer_bytes exceeds it.", ofStream, func(p pipelineReport) float64 { return float64(p.MaxBytes) }),
	counter("hydrant_buffer_appended_records_total", "Records appended, ever.", ofStream, func(p pipelineReport) float64 { return float64(p.Appended.Records) }),
	counter("hydrant_buffer_appended_bytes_total", "Bytes of the records appended, ever.", ofStream, func(p pipelineReport) float64 { return float64(p.Appended.Bytes) }),
	counter("hydrant_buffer_damaged_records_total", "Records found lost in the log, ever.", ofStream, func(p pipelineReport) float64 { return float64(p.Damaged.Records) }),
	gauge("hydrant_buffer_full", "1 while appends are refused for want of room.", ofStream, func(p pipelineReport) float64 { return one(p.Full != "") }),
	gauge("hydrant_buffer_poisoned", "1 after a failed sync: nothing is appended until a restart.", ofStream, func(p pipelineReport) float64 { return one(p.Poisoned != "") }),
	gauge("hydrant_buffer_held", "1 when the log cannot be used at all.", ofStream, func(p pipelineReport) float64 { return one(p.Error != "") }),
}

// Appended = delivered + refused + dropped + damaged + pending, in records and in bytes (I13).
var deliveryMetrics = []metric[outletReport]{
	counter("hydrant_delivery_appended_records_total", "Records appended for this delivery.", ofDelivery, func(o outletReport) float64 { return float64(o.Appended.Records) }),
	counter("hydrant_delivery_appended_bytes_total", "Their bytes.", ofDelivery, func(o outletReport) float64 { return float64(o.Appended.Bytes) }),
	counter("hydrant_delivery_delivered_records_total", "Records delivered.", ofDelivery, func(o outletReport) float64 { return float64(o.Delivered.Records) }),
	counter("hydrant_delivery_delivered_bytes_total", "Their bytes.", ofDelivery, func(o outletReport) float64 { return float64(o.Delivered.Bytes) }),
	counter("hydrant_delivery_refused_records_total", "Records that went to the error output.", ofDelivery, func(o outletReport) float64 { return float64(o.Refused.Records) }),
	counter("hydrant_delivery_refused_bytes_total", "Their bytes.", ofDelivery, func(o outletReport) float64 { return float64(o.Refused.Bytes) }),
	counter("hydrant_delivery_dropped_records_total", "Records that the function dropped.", ofDelivery, func(o outletReport) float64 { return float64(o.Dropped.Records) }),
	counter("hydrant_delivery_dropped_bytes_total", "Their bytes.", ofDelivery, func(o outletReport) float64 { return float64(o.Dropped.Bytes) }),
	counter("hydrant_delivery_damaged_records_total", "Records that could not be read any more.", ofDelivery, func(o outletReport) float64 { return float64(o.Damaged.Records) }),
	counter("hydrant_delivery_damaged_bytes_total", "Their bytes, as far as known.", ofDelivery, func(o outletReport) float64 { return float64(o.Damaged.Bytes) }),
	gauge("hydrant_delivery_pending_records", "Records not settled yet.", ofDelivery, func(o outletReport) float64 { return float64(o.Pending.Records) }),
	gauge("hydrant_delivery_pending_bytes", "Their bytes.", ofDelivery, func(o outletReport) float64 { return float64(o.Pending.Bytes) }),
	gauge("hydrant_delivery_oldest_pending_seconds", "Age of the oldest pending record, 0 without one.", ofDelivery, func(o outletReport) float64 { return o.OldestPending }),
	gauge("hydrant_delivery_ready_batches", "Batches that are spooled and not yet done.", ofDelivery, func(o outletReport) float64 { return float64(o.ReadyBatches) }),
	gauge("hydrant_delivery_last_delivery_timestamp_seconds", "Unix time of the last delivery of this process, 0 without one.", ofDelivery, func(o outletReport) float64 {
		if o.LastDelivery == nil {
			return 0
		}
		return float64(o.LastDelivery.UnixMilli()) / 1000
	}),
	gauge("hydrant_delivery_failing", "1 while it cannot deliver.", ofDelivery, func(o outletReport) float64 { return one(o.failing()) }),
	gauge("hydrant_delivery_held", "1 while only the operator can make it go on.", ofDelivery, func(o outletReport) float64 {
		return one(o.Error != "" || o.failing() && o.LastError.Operator)
	}),
}

var (
	memoryMetrics = []metric[[2]int64]{
		gauge("hydrant_memory_used_bytes", "Memory lent from a budget.", []string{"budget"}, func(m [2]int64) float64 { return float64(m[0]) }),
		gauge("hydrant_memory_total_bytes", "The size of a budget.", []string{"budget"}, func(m [2]int64) float64 { return float64(m[1]) }),
	}
	orphanMetric = gauge("hydrant_buffer_orphans", "Logs and cursors that the configuration has no use for.", nil, func(r report) float64 { return float64(len(r.Orphans)) })
	readyMetric  = gauge("hydrant_daemon_ready", "1 while the doors are open.", nil, func(r report) float64 { return one(r.Ready) })
	uptimeMetric = gauge("hydrant_daemon_uptime_seconds", "Time since the start.", nil, func(up time.Duration) float64 { return up.Seconds() })
)

// failing tells whether it is in trouble now.
func (o outletReport) failing() bool {
	return o.Error != "" || o.LastError != nil && o.LastError.Until == nil
}

// Describe implements prometheus.Collector.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range bufferMetrics {
		to <- m.desc
	}
	for _, m := range deliveryMetrics {
		to <- m.desc
	}
	for _, m := range memoryMetrics {
		to <- m.desc
	}
	to <- orphanMetric.desc
	to <- readyMetric.desc
	to <- uptimeMetric.desc
}

// Collect implements prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	r := c.daemon.report()
	for stream, p := range r.Pipelines {
		for _, m := range bufferMetrics {
			m.send(to, p, stream)
		}
		for name, o := range p.Destinations {
			for _, m := range deliveryMetrics {
				m.send(to, o, stream, name)
			}
		}
	}
	for i, budget := range []string{"doors", "deliveries"} {
		memory := c.daemon.memories[i]
		for _, m := range memoryMetrics {
			m.send(to, [2]int64{memory.Used(), memory.Total()}, budget)
		}
	}
	orphanMetric.send(to, r)
	readyMetric.send(to, r)
	uptimeMetric.send(to, c.daemon.clock.Mono())
}
