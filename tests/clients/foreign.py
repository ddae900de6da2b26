"""Foreign clients against a running node: gRPC by reflection alone (no generated code), health, and DNS.

usage: foreign.py GRPC_ADDRESS DNS_ADDRESS      packages: grpcio grpcio-reflection grpcio-health-checking dnspython
The node must hold the sample (`touchmark serve --sample`).
"""

import sys

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

grpc_address, dns_address = sys.argv[1:]
dns_host, dns_port = dns_address.rsplit(":", 1)
channel = grpc.insecure_channel(grpc_address)

GEARBOX = "88.1000.LSN/GB120-3169"
GEARBOX_NAME = "gb120-3169._.lsn.1000.88.hdl.id.test."


def call(pool, service, method, **fields):
    """Calls a unary method that is known from reflection only."""
    found = pool.FindServiceByName(service).methods_by_name[method]
    request, reply = GetMessageClass(found.input_type), GetMessageClass(found.output_type)
    unary = channel.unary_unary(
        f"/{service}/{method}", request_serializer=request.SerializeToString, response_deserializer=reply.FromString
    )
    return unary(request(**fields), timeout=5)


def ask(name, kind, ask_over=dns.query.udp, **options):
    query = dns.message.make_query(name, kind, **options)
    return ask_over(query, dns_host, port=int(dns_port), timeout=5)


def main():
    health = health_pb2_grpc.HealthStub(channel)
    for service in ["", "touchmark.v1.Resolver", "touchmark.v1.Registry"]:
        status = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status
        assert status == health_pb2.HealthCheckResponse.SERVING, (service, status)

    database = ProtoReflectionDescriptorDatabase(channel)
    services = database.get_services()
    assert {"touchmark.v1.Resolver", "touchmark.v1.Registry"} <= set(services), services
    pool = DescriptorPool(database)

    answer = call(pool, "touchmark.v1.Resolver", "Resolve", identifier=GEARBOX)
    assert answer.found.identifier == GEARBOX and len(answer.found.edges) == 10, answer
    record = answer.found.SerializeToString()
    assert call(pool, "touchmark.v1.Resolver", "Resolve", identifier="88.1/none").WhichOneof("outcome") == "not_found"
    try:
        call(pool, "touchmark.v1.Resolver", "Resolve", identifier="(01)09506000134353")
        raise AssertionError("a wrong check digit was taken")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and "check digit" in error.details(), error

    texts = ask(GEARBOX_NAME, "TXT").answer[0]
    assert {rdata.strings[0] for rdata in texts} >= {b"1 NAME", b"2 PART_NUMBER"}, texts
    whole = ask(GEARBOX_NAME, dns.rdatatype.from_text("TYPE65280"), dns.query.tcp).answer[0][0]
    assert whole.data == record, "the record over DNS is the record over gRPC"
    missing = ask("none._.1.88.hdl.id.test.", "TXT")
    assert missing.rcode() == dns.rcode.NXDOMAIN and missing.authority[0].rdtype == dns.rdatatype.SOA, missing
    parent = ask("lsn.1000.88.hdl.id.test.", "TXT")
    assert parent.rcode() == dns.rcode.NOERROR and not parent.answer, parent
    assert parent.flags & dns.flags.AA, parent
    print("foreign clients: health, reflection, gRPC and DNS agree")


main()
