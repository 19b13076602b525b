"""Shows a reservation of a mesh that runs with --tls-dir: python over_tls.py reservations/…"""

import os
import sys

from holdfast.client import connect, tls
from holdfast.reservation.v1.reservation_pb2 import GetReservationRequest, Reservation
from holdfast.reservation.v1.reservation_pb2_grpc import ReservationServiceStub

url, token = os.environ["HOLDFAST_RESERVATION_URL"], os.environ["CUSTOMER_TOKEN"]
channel = connect(url, token, tls(os.environ["HOLDFAST_TLS_DIR"]), server="reservation")
found = ReservationServiceStub(channel).GetReservation(GetReservationRequest(name=sys.argv[1])).reservation
print(found.name, Reservation.State.Name(found.state))
