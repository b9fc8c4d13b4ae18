package http

import (
	"path"
	"strconv"

	"github.com/hydrantd/hydrant/config"
	"github.com/hydrantd/hydrant/ingest"
)

// Config is the section `http`.
type Config struct {
	Listen  string        `yaml:"listen" default:"required" doc:"HOST:PORT. Pipelines may share one by different paths. Off the loopback a token or TLS is required."`
	Path    string        `yaml:"path" doc:"Where records are posted to, exactly."`
	Token   config.Secret `yaml:"token" default:"none" doc:"What Authorization: Bearer must carry. Without one, whoever can connect may write."`
	MaxBody config.Size   `yaml:"max_body" doc:"Bytes of one body, compressed and uncompressed, up to 31MiB. A larger one is answered 413."`
	TLS     TLS           `yaml:"tls"`
}

// TLS makes the listener speak https.
type TLS struct {
	CertFile config.Path `yaml:"cert_file" default:"none: plain HTTP" doc:"The certificate and its chain, PEM."`
	KeyFile  config.Path `yaml:"key_file" default:"none" doc:"The certificate's key, PEM."`
}

// Kind makes the door from its section.
var Kind = ingest.Define(Config{Path: "/", MaxBody: 16 << 20}, open)

// largestBody keeps a body of one record below buffer.MaxBlock with room for the framing.
const largestBody = 31 << 20

// Check implements config.Checker.
func (c *Config) Check(r *config.Report) {
	switch {
	case !r.Given("listen"):
		r.Problem("listen", "nothing", "write an address such as 127.0.0.1:8080")
	case !config.ValidListen(c.Listen):
		r.Problem("listen", "an address that is not HOST:PORT", "write it as 127.0.0.1:8080")
	case !config.Loopback(c.Listen) && c.Token.Empty() && c.TLS.CertFile == "":
		r.Problem("listen", "an address that other machines can reach, without token or tls", "set one of them, or listen on 127.0.0.1")
	}
	if c.Path == "" || c.Path[0] != '/' || path.Clean(c.Path) != c.Path {
		r.Problem("path", strconv.Quote(c.Path), "want one such as /logs")
	}
	if c.MaxBody < 1 || c.MaxBody > largestBody {
		r.Problem("max_body", c.MaxBody.String(), "from 1B to 31MiB")
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		r.Problem("tls", "one of two files", "write both cert_file and key_file")
	}
}

// Listener implements config.Listener.
func (c *Config) Listener() (listen, path, certFile, keyFile string) {
	return c.Listen, c.Path, string(c.TLS.CertFile), string(c.TLS.KeyFile)
}
