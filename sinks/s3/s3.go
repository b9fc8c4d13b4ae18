package s3

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sinks"
	"github.com/hydrantd/hydrant/sinks/object"
)

// store is an open S3 destination.
type store struct {
	*object.Format
	cfg       Config
	where     string // endpoint or region, for remedies
	region    string // that requests are signed for
	name      string // PIPELINE/DESTINATION, for remedies
	client    *awss3.Client
	who       *identity
	clock     hydrant.Clock
	log       *slog.Logger
	transport *http.Transport // nil in the simulation
	patience  time.Duration   // for a request without a body

	mu          sync.Mutex
	conditional support
	uploads     map[string]*upload // begun by this process and neither completed nor given up, by bucket and key
}

// support is what is known of how the store takes If-None-Match: *.
type support uint8

const (
	unknown  support = iota
	heeded           // what is there stays, and the answer is 412
	ignored          // what is there is replaced
	declined         // the header is an error
)

func open(c Config, d sinks.Deps) (sinks.Sink, error) {
	format, err := object.New(c.Layout, d.Rand, c.ContentEncoding)
	if err != nil {
		return nil, err
	}
	s := &store{
		Format: format, cfg: c, clock: d.Clock, log: d.Log, name: d.Pipeline + "/" + d.Destination, uploads: map[string]*upload{},
		patience: firstPositive(c.Timeout, d.Timeout, time.Minute),
	}
	doer := d.HTTP
	var pem []byte
	if doer == nil {
		var file string
		if file, pem, err = certificates(&c, d.FS); err == nil {
			s.transport, err = newTransport(pem, s.patience)
		}
		if err != nil {
			return nil, fmt.Errorf("destination %s: ca_file %s: %w", d.Destination, file, err)
		}
		doer = &http.Client{Transport: s.transport, Timeout: s.patience}
	}
	region, who, err := identify(&c, d.HTTP, pem)
	if err != nil {
		return nil, fmt.Errorf("destination %s: %w", d.Destination, err)
	}
	s.who, s.region = who, region
	s.client = newClient(&c, region, who, doer)
	s.where = "region " + region
	if c.Endpoint != "" {
		s.where = c.Endpoint
	}
	return s, nil
}

func firstPositive(durations ...time.Duration) time.Duration {
	for _, d := range durations {
		if d > 0 {
			return d
		}
	}
	return 0
}

// Encoder implements sinks.Sink.
func (s *store) Encoder(b sinks.Batch, sp sinks.Spool) (sinks.Encoder, error) {
	return s.Format.Encoder(b, sp, s.cfg.Bucket)
}

// multipartFrom is the size in bytes from which on objects are sent in parts.
const multipartFrom = 16 << 20

// Ship implements sinks.Sink.
func (s *store) Ship(ctx context.Context, sh *sinks.Shipment) error {
	for _, o := range sh.Outputs {
		if err := s.ship(ctx, sh, o); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) ship(ctx context.Context, sh *sinks.Shipment, o sinks.Output) error {
	n, err := readNote(sh.Saved)
	if err != nil {
		return err
	}
	content, err := sh.Open(o)
	if err != nil {
		return err
	}
	defer content.Close()
	if o.Size < multipartFrom {
		return s.single(ctx, sh, o, n, content)
	}
	return s.multipart(ctx, sh, o, n, content)
}

// Close implements sinks.Sink.
func (s *store) Close() error {
	if s.transport != nil {
		s.transport.CloseIdleConnections()
	}
	return nil
}

// known is what the store is known to do with conditional puts; learn says what was seen of it.
func (s *store) known() support {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conditional
}

func (s *store) learn(now support) {
	s.mu.Lock()
	before := s.conditional
	s.conditional = now
	s.mu.Unlock()
	if before != now && (now == ignored || now == declined) {
		s.log.Info("the store has no conditional puts; objects that are sent again replace themselves", "bucket", s.cfg.Bucket)
	}
}

// ifNoneMatch is the condition of a put: that nothing is there. Nil where the store does not know it.
func (s *store) ifNoneMatch(n note) *string {
	if k := s.known(); n.Loose || k == ignored || k == declined {
		return nil
	}
	return aws.String("*")
}

// crcKey is the metadata in which an object carries the CRC32C of its bytes, as 8 hexadecimal digits.
const crcKey = "hydrant-crc32c"

func metadata(crc uint32) map[string]string {
	return map[string]string{crcKey: fmt.Sprintf("%08x", crc)}
}

// checksum is a CRC32C as S3 writes it; nil when checksums are not to be sent.
func (s *store) checksum(crc uint32) *string {
	if !s.cfg.checksums() {
		return nil
	}
	return aws.String(base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc)))
}

// asked is s, or nil when there is none: headers that were not asked for are not sent.
func asked(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// tagging is the header of the tags.
func (s *store) tagging() *string {
	v := url.Values{}
	for _, name := range sortedKeys(s.cfg.Tags) {
		v.Set(name, s.cfg.Tags[name])
	}
	return asked(strings.ReplaceAll(v.Encode(), "+", "%20"))
}

func (s *store) encryption() types.ServerSideEncryption {
	switch {
	case s.cfg.SSE.KMSKeyID != "":
		return types.ServerSideEncryptionAwsKms
	case s.cfg.SSE.AES256:
		return types.ServerSideEncryptionAes256
	}
	return ""
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
