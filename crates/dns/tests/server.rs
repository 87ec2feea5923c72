//! Real questions over UDP and TCP on loopback, with an upstream of our own.

use control::{Cache, Projection};
use dns::{Endpoint, EndpointSlice, Kind, Port, Server, Service, Upstreams, Watched, Zone, plan, resolv_conf};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use value::{Object, ObjectKey};

fn service(name: &str, kind: Kind) -> Service {
    let ports = vec![Port { name: "http".into(), protocol: "tcp".into(), number: 80 }];
    Service { namespace: "default".into(), name: name.into(), kind, ports, publish_not_ready: false }
}

fn zone() -> Zone {
    let many = (0..200u8).map(|n| Endpoint { addresses: vec![[10, 1, 0, n].into()], hostname: None, ready: true });
    let slice = EndpointSlice {
        namespace: "default".into(),
        service: "many".into(),
        ports: vec![Port { name: "http".into(), protocol: "tcp".into(), number: 80 }],
        endpoints: many.collect(),
    };
    let services = [
        service("web", Kind::ClusterIp(vec![[10, 96, 0, 10].into()])),
        service("many", Kind::Headless),
        service("ext", Kind::ExternalName("example.org".into())),
        service("inner", Kind::ExternalName("web.default.svc.cluster.local".into())),
        service("nowhere", Kind::ExternalName("none.default.svc.cluster.local".into())),
        service("circle", Kind::ExternalName("circle.default.svc.cluster.local".into())),
    ];
    plan("cluster.local", &services, &[slice])
}

async fn start(upstreams: &Upstreams) -> (SocketAddr, watch::Sender<Arc<Zone>>) {
    let server = Server::bind("127.0.0.1:0".parse().expect("address")).await.expect("bind");
    let server = server.with_upstreams(upstreams).expect("upstreams");
    let address = server.address().expect("address");
    let (sender, receiver) = watch::channel(Arc::new(zone()));
    tokio::spawn(server.run(receiver));
    (address, sender)
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("name"), kind));
    message
}

async fn raw(server: SocketAddr, bytes: &[u8]) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    socket.send_to(bytes, server).await.expect("send");
    let mut buffer = vec![0; 65535];
    let n = socket.recv(&mut buffer).await.expect("receive");
    Message::from_vec(&buffer[..n]).expect("message")
}

async fn udp(server: SocketAddr, message: &Message) -> Message {
    raw(server, &message.to_vec().expect("encode")).await
}

async fn tcp(server: SocketAddr, messages: &[Message]) -> Vec<Message> {
    let mut stream = TcpStream::connect(server).await.expect("connect");
    for message in messages {
        let bytes = message.to_vec().expect("encode");
        stream.write_u16(bytes.len() as u16).await.expect("send");
        stream.write_all(&bytes).await.expect("send");
    }
    let mut answers = Vec::new();
    for _ in messages {
        let mut bytes = vec![0; usize::from(stream.read_u16().await.expect("length"))];
        stream.read_exact(&mut bytes).await.expect("answer");
        answers.push(Message::from_vec(&bytes).expect("message"));
    }
    answers
}

fn data(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

/// Answers everything with one address; names that start with `big` are truncated over UDP.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let socket = UdpSocket::bind(address).await.expect("bind");
    let answer = |bytes: &[u8], stream: bool| {
        let query = Message::from_vec(bytes).expect("query");
        let name = query.queries[0].name().clone();
        let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
        answer.add_query(query.queries[0].clone());
        if name.to_ascii().starts_with("big") && !stream {
            answer.metadata.truncation = true;
        } else {
            answer.add_answer(Record::from_rdata(name, 60, RData::A(A::new(192, 0, 2, if stream { 2 } else { 1 }))));
        }
        answer.to_vec().expect("encode")
    };
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        loop {
            let (n, client) = socket.recv_from(&mut buffer).await.expect("receive");
            // A forged answer comes first.
            let mut forged = answer(&buffer[..n], false);
            forged[0] ^= 1;
            socket.send_to(&forged, client).await.expect("send");
            socket.send_to(&answer(&buffer[..n], false), client).await.expect("send");
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; usize::from(stream.read_u16().await.expect("length"))];
            stream.read_exact(&mut bytes).await.expect("query");
            let bytes = answer(&bytes, true);
            stream.write_u16(bytes.len() as u16).await.expect("send");
            stream.write_all(&bytes).await.expect("send");
        }
    });
    address
}

#[tokio::test]
async fn answers_from_the_zone() {
    let (server, sender) = start(&Upstreams::default()).await;
    let answer = udp(server, &query("web.default.svc.cluster.local.", RecordType::A)).await;
    assert_eq!(data(&answer), ["10.96.0.10"]);
    assert_eq!((answer.metadata.id, answer.metadata.response_code), (4711, ResponseCode::NoError));
    assert!(answer.metadata.authoritative && answer.metadata.recursion_available);

    let absent = udp(server, &query("none.default.svc.cluster.local.", RecordType::A)).await;
    assert_eq!(absent.metadata.response_code, ResponseCode::NXDomain);
    let empty = udp(server, &query("web.default.svc.cluster.local.", RecordType::AAAA)).await;
    assert_eq!((empty.metadata.response_code, empty.answers.len()), (ResponseCode::NoError, 0));
    for negative in [absent, empty] {
        assert_eq!(negative.authorities.len(), 1);
        assert_eq!((negative.authorities[0].record_type(), negative.authorities[0].ttl), (RecordType::SOA, 5));
    }

    // A new version serves the next question.
    let mut next = zone();
    next.set("default", "web", None);
    sender.send(Arc::new(next)).expect("send");
    let gone = udp(server, &query("web.default.svc.cluster.local.", RecordType::A)).await;
    assert_eq!(gone.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn large_answers() {
    let (server, _sender) = start(&Upstreams::default()).await;
    let question = query("many.default.svc.cluster.local.", RecordType::A);
    let small = udp(server, &question).await;
    assert!(small.metadata.truncation && !small.answers.is_empty() && small.to_vec().expect("encode").len() <= 512);
    let mut large = question.clone();
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    large.set_edns(edns);
    let large = udp(server, &large).await;
    assert!(large.metadata.truncation && large.answers.len() > small.answers.len());
    assert!(large.to_vec().expect("encode").len() <= 1232);
    let web = query("web.default.svc.cluster.local.", RecordType::A);
    let answers = tcp(server, &[question.clone(), web]).await;
    assert_eq!((answers[0].answers.len(), answers[0].metadata.truncation), (200, false));
    assert_eq!(data(&answers[1]), ["10.96.0.10"]);
    // Clients that take the first address spread.
    let again = tcp(server, &[question]).await;
    assert_ne!(data(&again[0])[0], data(&answers[0])[0]);
}

#[tokio::test]
async fn bad_messages() {
    let (server, _sender) = start(&Upstreams::default()).await;
    let refused = |message: Message| message.metadata.response_code;
    assert_eq!(refused(raw(server, &[0x12, 0x67, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xff]).await), ResponseCode::FormErr);
    let mut update = query("web.default.svc.cluster.local.", RecordType::A);
    update.metadata.op_code = OpCode::Notify;
    assert_eq!(refused(udp(server, &update).await), ResponseCode::NotImp);
    let mut two = query("web.default.svc.cluster.local.", RecordType::A);
    two.add_query(two.queries[0].clone());
    assert_eq!(refused(udp(server, &two).await), ResponseCode::FormErr);
    // Neither rubbish nor a response gets an answer; the server goes on.
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    let mut response = query("web.default.svc.cluster.local.", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    for bytes in [vec![], vec![1], response.to_vec().expect("encode")] {
        socket.send_to(&bytes, server).await.expect("send");
    }
    let question = query("web.default.svc.cluster.local.", RecordType::A);
    socket.send_to(&question.to_vec().expect("encode"), server).await.expect("send");
    let mut buffer = [0; 512];
    let n = socket.recv(&mut buffer).await.expect("receive");
    assert_eq!(data(&Message::from_vec(&buffer[..n]).expect("message")), ["10.96.0.10"]);
    // Without upstream, the rest is refused.
    assert_eq!(refused(udp(server, &query("example.org.", RecordType::A)).await), ResponseCode::Refused);
}

#[tokio::test]
async fn forwards_the_rest() {
    // Nobody listens at the first one.
    let dead = UdpSocket::bind("127.0.0.1:0").await.expect("bind").local_addr().expect("address");
    let (server, _sender) = start(&Upstreams::new([dead, upstream().await])).await;
    let answer = udp(server, &query("example.org.", RecordType::A)).await;
    assert_eq!((data(&answer), answer.metadata.id), (vec!["192.0.2.1".to_string()], 4711));
    let truncated = udp(server, &query("big.example.org.", RecordType::A)).await;
    assert_eq!((data(&truncated), truncated.metadata.truncation), (vec!["192.0.2.2".to_string()], false));
    let answers = tcp(server, &[query("example.org.", RecordType::A)]).await;
    assert_eq!(data(&answers[0]), ["192.0.2.1"]);

    let alias = udp(server, &query("ext.default.svc.cluster.local.", RecordType::A)).await;
    assert_eq!(data(&alias), ["example.org.", "192.0.2.1"]);
    assert_eq!(alias.queries[0].name().to_ascii(), "ext.default.svc.cluster.local.");
    let inner = udp(server, &query("inner.default.svc.cluster.local.", RecordType::A)).await;
    assert_eq!(data(&inner), ["web.default.svc.cluster.local.", "10.96.0.10"]);
    let nowhere = udp(server, &query("nowhere.default.svc.cluster.local.", RecordType::A)).await;
    assert_eq!((nowhere.metadata.response_code, nowhere.answers.len()), (ResponseCode::NXDomain, 1));
    let circle = udp(server, &query("circle.default.svc.cluster.local.", RecordType::A)).await;
    assert_eq!(circle.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn a_resolver_that_asks_us_back() {
    // It sends whatever it is asked to us, as a dnsmasq in front of us would.
    let relay = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("bind"));
    let (server, _sender) = start(&Upstreams::new([relay.local_addr().expect("address")])).await;
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        let mut asker = None;
        loop {
            let (n, from) = relay.recv_from(&mut buffer).await.expect("receive");
            let to = if from == server { asker.unwrap_or(server) } else { server };
            if from != server {
                asker = Some(from);
            }
            relay.send_to(&buffer[..n], to).await.expect("send");
        }
    });
    let answer = udp(server, &query("example.org.", RecordType::A)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    // And a list that names us has us taken out.
    let own = Server::bind("127.0.0.1:0".parse().expect("address")).await.expect("bind");
    let address = own.address().expect("address");
    let own = own.with_upstreams(&Upstreams::new([address])).expect("upstreams");
    let (_sender, receiver) = watch::channel(Arc::new(zone()));
    tokio::spawn(own.run(receiver));
    assert_eq!(udp(address, &query("example.org.", RecordType::A)).await.metadata.response_code, ResponseCode::Refused);
}

fn put<P: Projection>(cache: &Cache<Arc<P>>, json: &str) {
    let object = Object::from_json(json.to_string().into_bytes().into()).expect("object");
    let projected = P::project(&object).expect("projection");
    cache.put(object.key.clone(), object.revision, Arc::new(projected));
}

#[tokio::test]
async fn follows_the_caches() {
    let watched = Watched { services: Cache::detached(), slices: Cache::detached() };
    put(
        &watched.services,
        r#"{"metadata":{"name":"db","namespace":"n","resourceVersion":"1"},"spec":{"clusterIP":"None","clusterIPs":["None"],"ports":[{"name":"sql","port":5432}]}}"#,
    );
    put(
        &watched.services,
        r#"{"metadata":{"name":"web","namespace":"n","resourceVersion":"2"},"spec":{"clusterIP":"10.96.0.7"}}"#,
    );
    let server = Server::bind("127.0.0.1:0".parse().expect("address")).await.expect("bind");
    let address = server.address().expect("address");
    let driver = watched.clone();
    tokio::spawn(async move { dns::run(driver, "cluster.local", server).await });
    // Asked before the caches are filled, it waits with its answer.
    let question = query("web.n.svc.cluster.local.", RecordType::A);
    let early = tokio::spawn(async move { udp(address, &question).await });
    watched.services.mark_synced();
    watched.slices.mark_synced();
    assert_eq!(data(&early.await.expect("answer")), ["10.96.0.7"]);

    let db = query("db-0.db.n.svc.cluster.local.", RecordType::A);
    assert_eq!(udp(address, &db).await.metadata.response_code, ResponseCode::NXDomain);
    put(
        &watched.slices,
        r#"{"metadata":{"name":"db-x","namespace":"n","resourceVersion":"3","labels":{"kubernetes.io/service-name":"db"}},"ports":[{"name":"sql","port":5432,"protocol":"TCP"}],"endpoints":[{"addresses":["10.1.0.5"],"hostname":"db-0","conditions":{"ready":true}}]}"#,
    );
    while data(&udp(address, &db).await) != ["10.1.0.5"] {
        tokio::task::yield_now().await;
    }
    let srv = udp(address, &query("_sql._tcp.db.n.svc.cluster.local.", RecordType::SRV)).await;
    assert_eq!(data(&srv), ["0 100 5432 db-0.db.n.svc.cluster.local."]);
    watched.slices.take(&ObjectKey::new("n", "db-x"));
    while udp(address, &db).await.metadata.response_code != ResponseCode::NXDomain {
        tokio::task::yield_now().await;
    }
}

#[test]
fn resolvers_of_the_node() {
    let text =
        "# comment\nnameserver 10.0.0.1\nsearch x\nnameserver\t fd00::1 \nnameserver nonsense\noptions ndots:5\n";
    let expected: Vec<SocketAddr> = vec!["10.0.0.1:53".parse().expect("v4"), "[fd00::1]:53".parse().expect("v6")];
    assert_eq!(resolv_conf(text), expected);
}
