package s3

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/hydrantd/hydrant/sinks"
)

// identity is where credentials come from. It is an aws.CredentialsProvider, safe for concurrent use.
type identity struct {
	build   func(context.Context) (aws.CredentialsProvider, error)
	current atomic.Pointer[aws.CredentialsProvider]
}

// noCredentialsError says that there are no credentials, for whatever reason.
type noCredentialsError struct{ error }

func (e noCredentialsError) Unwrap() error { return e.error }

// Retrieve implements aws.CredentialsProvider.
func (i *identity) Retrieve(ctx context.Context) (aws.Credentials, error) {
	provider := i.current.Load()
	if provider == nil {
		p, err := i.build(ctx)
		if err != nil {
			return aws.Credentials{}, noCredentialsError{err}
		}
		provider = &p
		i.current.Store(provider)
	}
	creds, err := (*provider).Retrieve(ctx)
	if err != nil {
		i.forget()
		return aws.Credentials{}, noCredentialsError{err}
	}
	return creds, nil
}

// forget makes the next request read files and environment again: the operator may have mended them.
func (i *identity) forget() { i.current.Store(nil) }

// identify finds the region and the identity that c asks for. It reads files, and asks nobody: credentials are had
// when the first request needs them, by way of network if that is not nil, trusting the certificates in pem besides the
// system's.
func identify(c *Config, network sinks.Doer, pem []byte) (region string, who *identity, err error) {
	region = c.Region
	if region == "" && c.Endpoint != "" {
		region = "us-east-1"
	}
	static := credentials.StaticCredentialsProvider{Value: aws.Credentials{
		AccessKeyID: c.Auth.AccessKeyID, SecretAccessKey: c.Auth.SecretAccessKey.Value(), SessionToken: c.Auth.SessionToken.Value(),
		Source: "hydrant's configuration",
	}}
	if c.Auth.AccessKeyID != "" && c.Auth.AssumeRole.RoleARN == "" && region != "" {
		return region, &identity{build: func(context.Context) (aws.CredentialsProvider, error) { return static, nil }}, nil
	}
	load := func(ctx context.Context) (aws.Config, error) {
		options := []func(*awsconfig.LoadOptions) error{awsconfig.WithSharedConfigProfile(c.Auth.Profile)}
		if network != nil {
			options = append(options, awsconfig.WithHTTPClient(network))
		}
		if len(pem) > 0 {
			options = append(options, awsconfig.WithCustomCABundle(bytes.NewReader(pem)))
		}
		if region != "" {
			options = append(options, awsconfig.WithRegion(region))
		}
		if c.Auth.AccessKeyID != "" {
			options = append(options, awsconfig.WithCredentialsProvider(static))
		}
		return awsconfig.LoadDefaultConfig(ctx, options...)
	}
	who = &identity{build: func(ctx context.Context) (aws.CredentialsProvider, error) {
		cfg, err := load(ctx)
		if err != nil {
			return nil, err
		}
		return assume(cfg, c.Auth.AssumeRole), nil
	}}
	if region != "" {
		return region, who, nil
	}
	cfg, err := load(context.Background())
	if err != nil {
		return "", nil, err
	}
	if cfg.Region == "" {
		return "", nil, errors.New("no region in the configuration, the environment or the profile; write region: and the bucket's")
	}
	return cfg.Region, who, nil
}

// assume adds a role to the credentials of cfg.
func assume(cfg aws.Config, role AssumeRole) aws.CredentialsProvider {
	if role.RoleARN == "" {
		return cfg.Credentials
	}
	provider := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), role.RoleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = "hydrant"
		if role.SessionName != "" {
			o.RoleSessionName = role.SessionName
		}
		if role.ExternalID != "" {
			o.ExternalID = aws.String(role.ExternalID)
		}
		o.Duration = role.Duration
	})
	return aws.NewCredentialsCache(provider)
}
