// Package s3 is the destination for objects in a bucket of Amazon S3, or of a store that speaks its protocol.
package s3

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/hydrantd/hydrant/config"
	"github.com/hydrantd/hydrant/sinks"
	"github.com/hydrantd/hydrant/sinks/object"
)

// Config is the section of an S3 destination.
type Config struct {
	Bucket          string        `yaml:"bucket" doc:"The bucket. It must be there."`
	Region          string        `yaml:"region" default:"what the environment or the profile says; us-east-1 with an endpoint" doc:"The bucket's region."`
	Endpoint        string        `yaml:"endpoint" default:"Amazon's" doc:"The URL of an S3-compatible store."`
	PathStyle       *bool         `yaml:"path_style" default:"true with an endpoint, else false" doc:"Whether the bucket stands in the path of the URL and not in its host name."`
	Checksums       string        `yaml:"checksums" default:"when_required with an endpoint, else when_supported" doc:"when_supported sends a CRC32C with each object and each part, when_required only what the store insists on."`
	CAFile          config.Path   `yaml:"ca_file" default:"$AWS_CA_BUNDLE" doc:"Certificates in PEM form that are trusted besides the system's."`
	Timeout         time.Duration `yaml:"timeout" default:"60s" doc:"How long one request may take; a second per MiB of its body comes on top."`
	Auth            Auth          `yaml:"auth" default:"the chain of the AWS SDK: environment, profile, web identity, container, instance" doc:"Who hydrant is to the store."`
	object.Layout   `yaml:",inline"`
	ContentEncoding bool              `yaml:"content_encoding" doc:"Whether objects say their compression as Content-Encoding, so that many clients unpack them by themselves."`
	SSE             SSE               `yaml:"sse" default:"what the bucket says" doc:"Encryption by the store."`
	StorageClass    string            `yaml:"storage_class" default:"the store's" doc:"Such as STANDARD, STANDARD_IA, INTELLIGENT_TIERING or GLACIER_IR."`
	ACL             string            `yaml:"acl" default:"none is sent" doc:"A canned ACL such as bucket-owner-full-control."`
	Tags            map[string]string `yaml:"tags" doc:"At most ten tags that each object gets."`
}

// Auth says which credentials are used. The zero Auth means the chain of the AWS SDK.
type Auth struct {
	Profile         string        `yaml:"profile" doc:"A profile of the shared AWS configuration files."`
	AccessKeyID     string        `yaml:"access_key_id" doc:"A key, with secret_access_key."`
	SecretAccessKey config.Secret `yaml:"secret_access_key" doc:"The secret of access_key_id."`
	SessionToken    config.Secret `yaml:"session_token" doc:"The token of temporary keys."`
	AssumeRole      AssumeRole    `yaml:"assume_role" doc:"A role to assume with the credentials that the rest of auth says."`
}

// AssumeRole is a role and how to assume it; nothing when RoleARN is empty.
type AssumeRole struct {
	RoleARN     string        `yaml:"role_arn" doc:"The role."`
	ExternalID  string        `yaml:"external_id" doc:"What the role's trust policy asks for."`
	SessionName string        `yaml:"session_name" default:"hydrant" doc:"How the session is called in the account's logs."`
	Duration    time.Duration `yaml:"duration" default:"15m" doc:"How long a session lasts, 15m–12h. It is renewed before it ends."`
}

// SSE is encryption by the store.
type SSE struct {
	KMSKeyID string `yaml:"kms_key_id" doc:"The key of AWS KMS: an id, an ARN or alias/NAME."`
	AES256   bool   `yaml:"aes256" doc:"Encryption with keys that the store manages."`
}

// Kind makes S3 destinations.
var Kind = sinks.Define(Config{Layout: object.Defaults()}, open)

// Target implements config.Targeter.
func (c *Config) Target() string {
	if c.Endpoint == "" {
		return "s3://" + c.Bucket
	}
	return c.Endpoint + "/" + c.Bucket
}

const (
	whenRequired  = "when_required"
	whenSupported = "when_supported"
)

// pathStyle is path_style with its default filled in.
func (c *Config) pathStyle() bool {
	if c.PathStyle != nil {
		return *c.PathStyle
	}
	return c.Endpoint != ""
}

// checksums tells whether checksums are sent.
func (c *Config) checksums() bool {
	if c.Checksums != "" {
		return c.Checksums == whenSupported
	}
	return c.Endpoint == ""
}

var (
	bucketName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$`)
	bucketARN  = regexp.MustCompile(`^arn:[^:/]+:s3[a-z-]*:[^:/]*:[^:]*:[^:]+$`)
	regionName = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
	tagText    = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+@-]*$`)
	roleARN    = regexp.MustCompile(`^arn:[^:]+:iam::[^:]*:role/.+$`)
)

// Check implements config.Checker.
func (c *Config) Check(r *config.Report) {
	switch {
	case c.Bucket == "":
		r.Problem("bucket", "no bucket", "bucket: and its name")
	case strings.HasPrefix(c.Bucket, "s3://"):
		r.Problem("bucket", fmt.Sprintf("%q", c.Bucket), "the bucket's name alone; what is behind it goes into prefix")
	case !bucketName.MatchString(c.Bucket) && !bucketARN.MatchString(c.Bucket):
		r.Problem("bucket", fmt.Sprintf("%q, which is no name of a bucket", c.Bucket), "3 characters or more of letters, digits, . and -")
	}
	if c.Region != "" && !regionName.MatchString(c.Region) {
		r.Problem("region", fmt.Sprintf("%q", c.Region), "a region such as eu-west-1")
	}
	c.checkEndpoint(r)
	oneOf(r, "checksums", c.Checksums, "", whenRequired, whenSupported)
	if c.Timeout < 0 || r.Given("timeout") && c.Timeout < time.Second {
		r.Problem("timeout", config.FormatDuration(c.Timeout), "at least 1s")
	}
	c.checkAuth(r)
	c.Layout.Check(r)
	if c.ContentEncoding && c.Compression == "none" {
		r.Warning("content_encoding", "there is no compression that it could say", "leave it out")
	}
	if c.SSE.AES256 && c.SSE.KMSKeyID != "" {
		r.Problem("sse", "both kms_key_id and aes256", "one of them")
	}
	if len(c.ACL) > 0 {
		oneOf(r, "acl", c.ACL, names(types.ObjectCannedACL("").Values())...)
	}
	if classes := names(types.StorageClass("").Values()); c.StorageClass != "" && c.Endpoint == "" {
		oneOf(r, "storage_class", c.StorageClass, classes...) // other stores have classes of their own
	}
	c.checkTags(r)
}

func (c *Config) checkEndpoint(r *config.Report) {
	if c.Endpoint == "" {
		return
	}
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		r.Problem("endpoint", "no URL of a store", "such as https://s3.example.com or http://127.0.0.1:7070")
	case u.User != nil:
		r.Problem("endpoint", "a user or password in the URL", "the URL without it, and auth: for the keys")
	case u.RawQuery != "" || u.Fragment != "":
		r.Problem("endpoint", "a URL with ? or #", "the URL without it")
	}
}

func (c *Config) checkAuth(r *config.Report) {
	a := c.Auth
	keys := a.AccessKeyID != "" || !a.SecretAccessKey.Empty() || !a.SessionToken.Empty()
	switch {
	case keys && a.Profile != "":
		r.Problem("auth", "both a profile and keys", "one of them")
	case keys && a.AccessKeyID == "":
		r.Problem("auth.access_key_id", "a secret without its key id", "access_key_id: and the id")
	case keys && a.SecretAccessKey.Empty():
		r.Problem("auth.secret_access_key", "a key id without its secret", `secret_access_key: "file:PATH" or "${VAR}"`)
	}
	role := a.AssumeRole
	switch {
	case role == AssumeRole{}:
	case role.RoleARN == "":
		r.Problem("auth.assume_role.role_arn", "no role", "role_arn: arn:aws:iam::ACCOUNT:role/NAME")
	case !roleARN.MatchString(role.RoleARN):
		r.Problem("auth.assume_role.role_arn", fmt.Sprintf("%q", role.RoleARN), "arn:aws:iam::ACCOUNT:role/NAME")
	}
	if d := role.Duration; d != 0 && (d < 15*time.Minute || d > 12*time.Hour) {
		r.Problem("auth.assume_role.duration", config.FormatDuration(d), "15m to 12h")
	}
}

func (c *Config) checkTags(r *config.Report) {
	if len(c.Tags) > 10 {
		r.Problem("tags", fmt.Sprintf("%d tags", len(c.Tags)), "at most 10, which is S3's limit")
	}
	for _, name := range sortedKeys(c.Tags) {
		if n := utf8.RuneCountInString(name); n == 0 || n > 128 || strings.HasPrefix(strings.ToLower(name), "aws:") || !tagText.MatchString(name) {
			r.Problem("tags."+name, fmt.Sprintf("the tag name %q", name), "1 to 128 letters, digits, spaces and + - = . _ : / @, not beginning with aws:")
		}
		if value := c.Tags[name]; utf8.RuneCountInString(value) > 256 || !tagText.MatchString(value) {
			r.Problem("tags."+name, fmt.Sprintf("%q", value), "at most 256 letters, digits, spaces and + - = . _ : / @")
		}
	}
}

func oneOf(r *config.Report, key, found string, allowed ...string) {
	if !slices.Contains(allowed, found) {
		r.Problem(key, fmt.Sprintf("%q", found), "one of "+strings.Join(slices.DeleteFunc(slices.Clone(allowed), func(s string) bool { return s == "" }), ", "))
	}
}

func names[T ~string](values []T) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}
