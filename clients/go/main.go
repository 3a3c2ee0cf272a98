// Driver of franz-go for the client matrix: reads operations from stdin, answers on stdout
// (see clients/matrix/client.py).
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// request holds the arguments of every operation. Bytes come in base64, as Go's JSON has them.
type request struct {
	Op              string
	Producer        int
	Consumer        int
	Records         []record
	Acks            any
	Compression     string
	Idempotent      bool
	TransactionalID string `json:"transactional_id"`
	MaxBytes        int32  `json:"max_bytes"`
	Commit          bool
	Topics          []string
	Group           string
	Start           any
	Reset           string
	Isolation       string
	Protocol        string
	Strategy        string
	Instance        string
	TimeoutMs       int `json:"timeout_ms"`
	Topic           string
	Partition       int32
	Partitions      int32
	Replicas        int16
	Configs         map[string]*string
	Timestamps      []int64
	Count           int
	Name            string
	Value           string
	Before          int64
	Offsets         [][3]any
}

type record struct {
	Topic         string   `json:"topic"`
	Partition     int32    `json:"partition"`
	Offset        *int64   `json:"offset"`
	Key           *[]byte  `json:"key"`
	Value         *[]byte  `json:"value"`
	Headers       [][2]any `json:"headers"`
	Timestamp     *int64   `json:"timestamp"`
	TimestampType *int     `json:"timestamp_type"`
}

type lacks string

func (l lacks) Error() string { return string(l) }

// consumer is a client with what its rebalances say.
type consumer struct {
	client   *kgo.Client
	mu       sync.Mutex
	assigned map[string]map[int32]bool
}

type driver struct {
	seeds     []string
	client    *kgo.Client
	admin     *kadm.Client
	producers map[int]*kgo.Client
	// The transactional ids of producers.
	transactional map[int]string
	consumers     map[int]*consumer
	next          int
}

func main() {
	seeds := strings.Split(os.Args[1], ",")
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		panic(err)
	}
	d := &driver{
		seeds: seeds, client: client, admin: kadm.NewClient(client),
		producers: map[int]*kgo.Client{}, transactional: map[int]string{}, consumers: map[int]*consumer{},
	}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		out.Encode(d.answer(line))
	}
}

func (d *driver) answer(line []byte) map[string]any {
	var r request
	if err := json.Unmarshal(line, &r); err != nil {
		return map[string]any{"error": "BAD_REQUEST", "text": err.Error()}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	ok, err := d.run(ctx, &r)
	var l lacks
	if errors.As(err, &l) {
		return map[string]any{"lacks": string(l)}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", r.Op, err)
		return map[string]any{"error": codeOf(err), "text": err.Error()}
	}
	return map[string]any{"ok": ok}
}

func codeOf(err error) string {
	var known *kerr.Error
	switch {
	case errors.As(err, &known):
		return known.Message
	case strings.Contains(err.Error(), "invalid record partitioning choice"):
		return "CLIENT_UNKNOWN_PARTITION"
	}
	return fmt.Sprintf("%T", err)
}

func (d *driver) run(ctx context.Context, r *request) (any, error) {
	switch r.Op {
	case "hello":
		return map[string]any{"version": version()}, nil
	case "producer":
		return d.producer(ctx, r)
	case "send":
		return send(ctx, d.producers[r.Producer], r.Records)
	case "begin":
		return nil, d.producers[r.Producer].BeginTransaction()
	case "end":
		return nil, d.producers[r.Producer].EndTransaction(ctx, kgo.TransactionEndTry(r.Commit))
	case "send_offsets":
		return nil, d.sendOffsets(ctx, r)
	case "close_producer":
		d.producers[r.Producer].Close()
		return nil, nil
	case "consumer":
		return d.consumer(r)
	case "poll":
		return poll(ctx, d.consumers[r.Consumer].client, r.TimeoutMs)
	case "assignment":
		return d.consumers[r.Consumer].assignment(), nil
	case "commit":
		return nil, d.consumers[r.Consumer].client.CommitUncommittedOffsets(ctx)
	case "close_consumer":
		d.consumers[r.Consumer].client.Close()
		return nil, nil
	}
	return d.administer(ctx, r)
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, dep := range info.Deps {
		if dep.Path == "github.com/twmb/franz-go" {
			return dep.Version
		}
	}
	return "unknown"
}

// producers

func (d *driver) producer(ctx context.Context, r *request) (any, error) {
	codec := map[string]kgo.CompressionCodec{
		"": kgo.NoCompression(), "none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[r.Compression]
	options := []kgo.Opt{
		kgo.SeedBrokers(d.seeds...), kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}
	if r.MaxBytes > 0 {
		options = append(options, kgo.ProducerBatchMaxBytes(r.MaxBytes))
	}
	switch {
	case r.TransactionalID != "":
		options = append(options, kgo.TransactionalID(r.TransactionalID))
	case !r.Idempotent:
		options = append(options, kgo.DisableIdempotentWrite())
		acks := kgo.AllISRAcks()
		if r.Acks == 0.0 {
			acks = kgo.NoAck()
		} else if r.Acks == 1.0 {
			acks = kgo.LeaderAck()
		}
		options = append(options, kgo.RequiredAcks(acks))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	if r.TransactionalID != "" {
		// Claims the transactional id now, not with the first record.
		if _, _, err := client.ProducerID(ctx); err != nil {
			return nil, err
		}
	}
	d.next++
	d.producers[d.next], d.transactional[d.next] = client, r.TransactionalID
	return d.next, nil
}

func send(ctx context.Context, client *kgo.Client, records []record) (any, error) {
	batch := make([]*kgo.Record, len(records))
	for i, r := range records {
		batch[i] = &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: plain(r.Key), Value: plain(r.Value)}
		if r.Timestamp != nil {
			batch[i].Timestamp = time.UnixMilli(*r.Timestamp)
		}
		for _, h := range r.Headers {
			value, err := headerValue(h[1])
			if err != nil {
				return nil, err
			}
			batch[i].Headers = append(batch[i].Headers, kgo.RecordHeader{Key: h[0].(string), Value: value})
		}
	}
	said := make([]map[string]any, len(records))
	for i, result := range client.ProduceSync(ctx, batch...) {
		if result.Err != nil {
			return nil, result.Err
		}
		// Results come as they were acknowledged: the record says which one it is.
		for at, sent := range batch {
			if sent == result.Record {
				i = at
			}
		}
		said[i] = map[string]any{"partition": result.Record.Partition, "offset": known(result.Record.Offset)}
	}
	return said, nil
}

// sendOffsets does what franz-go's own sessions of a group do, in which producer and consumer
// are one client; here they are two.
func (d *driver) sendOffsets(ctx context.Context, r *request) error {
	producer := d.producers[r.Producer]
	id, epoch, err := producer.ProducerID(ctx)
	if err != nil {
		return err
	}
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = d.transactional[r.Producer], id, epoch, r.Group
	added, err := add.RequestWith(ctx, producer)
	if err = errors.Join(err, kerr.ErrorForCode(added.ErrorCode)); err != nil {
		return err
	}
	commit := kmsg.NewPtrTxnOffsetCommitRequest()
	commit.TransactionalID, commit.ProducerID, commit.ProducerEpoch, commit.Group = add.TransactionalID, id, epoch, r.Group
	commit.MemberID, commit.Generation = d.consumers[r.Consumer].client.GroupMetadata()
	for _, offset := range r.Offsets {
		partition := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		partition.Partition, partition.Offset = int32(offset[1].(float64)), int64(offset[2].(float64))
		topic := kmsg.NewTxnOffsetCommitRequestTopic()
		topic.Topic, topic.Partitions = offset[0].(string), append(topic.Partitions, partition)
		commit.Topics = append(commit.Topics, topic)
	}
	committed, err := commit.RequestWith(ctx, producer)
	if err != nil {
		return err
	}
	for _, topic := range committed.Topics {
		for _, partition := range topic.Partitions {
			err = errors.Join(err, kerr.ErrorForCode(partition.ErrorCode))
		}
	}
	return err
}

// known is nil for an offset that nobody acknowledged.
func known(offset int64) any {
	if offset < 0 {
		return nil
	}
	return offset
}

func plain(data *[]byte) []byte {
	if data == nil {
		return nil
	}
	if *data == nil {
		return []byte{}
	}
	return *data
}

func headerValue(text any) ([]byte, error) {
	if text == nil {
		return nil, nil
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		return nil, err
	}
	data := []byte{}
	err = json.Unmarshal(quoted, &data)
	return data, err
}

// consumers

func (d *driver) consumer(r *request) (any, error) {
	c := &consumer{assigned: map[string]map[int32]bool{}}
	options := []kgo.Opt{kgo.SeedBrokers(d.seeds...), kgo.FetchMaxWait(100 * time.Millisecond)}
	if r.Isolation == "read_committed" {
		options = append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if r.MaxBytes > 0 {
		options = append(options, kgo.FetchMaxPartitionBytes(r.MaxBytes))
	}
	reset := kgo.NewOffset().AtStart()
	if r.Start == "latest" {
		reset = kgo.NewOffset().AtEnd()
	}
	if r.Reset == "none" {
		reset = kgo.NoResetOffset()
	}
	options = append(options, kgo.ConsumeResetOffset(reset))
	if places, manual := r.Start.([]any); manual {
		partitions := map[string]map[int32]kgo.Offset{}
		for _, place := range places {
			p := place.([]any)
			partitions[p[0].(string)] = map[int32]kgo.Offset{int32(p[1].(float64)): kgo.NewOffset().At(int64(p[2].(float64)))}
		}
		options = append(options, kgo.ConsumePartitions(partitions))
	} else {
		options = append(options, kgo.ConsumeTopics(r.Topics...))
	}
	if r.Group != "" {
		options = append(options, c.member(r)...)
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	c.client = client
	d.next++
	d.consumers[d.next] = c
	return d.next, nil
}

// member gives the options of a consumer in a group.
func (c *consumer) member(r *request) []kgo.Opt {
	options := []kgo.Opt{
		kgo.ConsumerGroup(r.Group), kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { c.change(parts, true) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { c.change(parts, false) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { c.change(parts, false) }),
		kgo.SessionTimeout(10 * time.Second), kgo.HeartbeatInterval(300 * time.Millisecond),
	}
	switch {
	case r.Protocol == "consumer":
		options = append(options, kgo.ServerSideBalancer(), kgo.Balancers(kgo.CooperativeStickyBalancer()))
	case r.Strategy == "cooperative":
		options = append(options, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	default:
		options = append(options, kgo.Balancers(kgo.RangeBalancer()))
	}
	if r.Instance != "" {
		options = append(options, kgo.InstanceID(r.Instance))
	}
	return options
}

func (c *consumer) change(parts map[string][]int32, add bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for topic, list := range parts {
		if c.assigned[topic] == nil {
			c.assigned[topic] = map[int32]bool{}
		}
		for _, partition := range list {
			if add {
				c.assigned[topic][partition] = true
			} else {
				delete(c.assigned[topic], partition)
			}
		}
	}
}

func (c *consumer) assignment() [][]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := [][]any{}
	for topic, partitions := range c.assigned {
		for partition := range partitions {
			list = append(list, []any{topic, partition})
		}
	}
	return list
}

func poll(ctx context.Context, client *kgo.Client, timeoutMs int) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(timeoutMs)*time.Millisecond)
	defer cancel()
	fetches := client.PollFetches(ctx)
	records := []map[string]any{}
	for _, failed := range fetches.Errors() {
		if !errors.Is(failed.Err, context.DeadlineExceeded) {
			return nil, failed.Err
		}
	}
	fetches.EachRecord(func(r *kgo.Record) {
		headers := [][2]any{}
		for _, h := range r.Headers {
			headers = append(headers, [2]any{h.Key, maybe(h.Value)})
		}
		records = append(records, map[string]any{
			"topic": r.Topic, "partition": r.Partition, "offset": r.Offset, "key": maybe(r.Key), "value": maybe(r.Value),
			"headers": headers, "timestamp": r.Timestamp.UnixMilli(), "timestamp_type": r.Attrs.TimestampType(),
		})
	})
	return records, nil
}

// maybe keeps nil and empty bytes apart in JSON.
func maybe(data []byte) any {
	if data == nil {
		return nil
	}
	return data
}

// admin

func (d *driver) administer(ctx context.Context, r *request) (any, error) {
	switch r.Op {
	case "create_topic":
		replicas := r.Replicas
		if replicas == 0 {
			replicas = 1
		}
		_, err := d.admin.CreateTopic(ctx, r.Partitions, replicas, r.Configs, r.Topic)
		return nil, err
	case "delete_topic":
		_, err := d.admin.DeleteTopic(ctx, r.Topic)
		return nil, err
	case "list_topics":
		details, err := d.admin.ListTopics(ctx)
		found := map[string]int{}
		for name, detail := range details {
			found[name] = len(detail.Partitions)
		}
		return found, err
	case "create_partitions":
		said, err := d.admin.UpdatePartitions(ctx, r.Count, r.Topic)
		return nil, errors.Join(err, said.Error())
	case "describe_configs":
		return d.describeConfigs(ctx, r.Topic)
	case "alter_config":
		said, err := d.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: r.Name, Value: &r.Value}}, r.Topic)
		if err != nil {
			return nil, err
		}
		return nil, said[0].Err
	case "delete_records":
		before := kadm.Offsets{}
		before.AddOffset(r.Topic, r.Partition, r.Before, -1)
		said, err := d.admin.DeleteRecords(ctx, before)
		if err != nil {
			return nil, err
		}
		one, _ := said.Lookup(r.Topic, r.Partition)
		return one.LowWatermark, one.Err
	case "offsets_for_times":
		return d.offsetsForTimes(ctx, r)
	case "cluster":
		metadata, err := d.admin.BrokerMetadata(ctx)
		return map[string]any{"id": metadata.Cluster, "brokers": len(metadata.Brokers)}, err
	}
	return d.administerGroups(ctx, r)
}

func (d *driver) describeConfigs(ctx context.Context, topic string) (any, error) {
	described, err := d.admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, err
	}
	found := map[string]any{}
	for _, config := range described[0].Configs {
		found[config.Key] = config.Value
	}
	return found, described[0].Err
}

// offsetsForTimes asks directly: kadm turns "no record that late" into the end.
func (d *driver) offsetsForTimes(ctx context.Context, r *request) (any, error) {
	offsets := []any{}
	for _, timestamp := range r.Timestamps {
		partition := kmsg.NewListOffsetsRequestTopicPartition()
		partition.Partition, partition.Timestamp = r.Partition, timestamp
		topic := kmsg.NewListOffsetsRequestTopic()
		topic.Topic, topic.Partitions = r.Topic, append(topic.Partitions, partition)
		ask := kmsg.NewPtrListOffsetsRequest()
		ask.ReplicaID, ask.Topics = -1, append(ask.Topics, topic)
		said, err := ask.RequestWith(ctx, d.client)
		if err != nil {
			return nil, err
		}
		found := said.Topics[0].Partitions[0]
		if err := kerr.ErrorForCode(found.ErrorCode); err != nil {
			return nil, err
		}
		offsets = append(offsets, known(found.Offset))
	}
	return offsets, nil
}

func (d *driver) administerGroups(ctx context.Context, r *request) (any, error) {
	switch r.Op {
	case "list_groups":
		listed, err := d.admin.ListGroups(ctx)
		return listed.Groups(), err
	case "describe_group":
		described, err := d.admin.DescribeGroups(ctx, r.Group)
		if err != nil {
			return nil, err
		}
		group := described[r.Group]
		return map[string]any{"state": group.State, "members": len(group.Members)}, group.Err
	case "group_offsets":
		offsets, err := d.admin.FetchOffsets(ctx, r.Group)
		list := [][]any{}
		for _, o := range offsets.Sorted() {
			list = append(list, []any{o.Topic, o.Partition, o.At})
		}
		return list, err
	case "delete_group":
		_, err := d.admin.DeleteGroup(ctx, r.Group)
		return nil, err
	}
	return nil, lacks("the driver has no operation " + strconv.Quote(r.Op))
}
