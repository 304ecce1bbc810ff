// A team by MPI; a module of its own (load_mpi.cpp). Nothing here waits inside of MPI, whose
// waiting keeps a core busy: every wait is a poll with rests, and what is sent or received goes on
// in between.
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <list>
#include <thread>
#include <utility>

#include "isogloss/sweep/team_impl.h"

namespace isogloss {
namespace {

// Numbers in one transfer: MPI counts in int. A message is whole pieces and then one that is
// shorter, perhaps empty.
constexpr size_t kPiece = size_t{1} << 20;
constexpr int kTag = 1;

// Rests between polls: short at first, since most waits are.
class Patience {
 public:
  void rest() {
    constexpr int kYields = 100;
    constexpr auto kLongest = std::chrono::microseconds(2000);
    if (yields_ < kYields) {
      ++yields_;
      std::this_thread::yield();
      return;
    }
    std::this_thread::sleep_for(pause_);
    pause_ = std::min(2 * pause_, kLongest);
  }

 private:
  int yields_ = 0;
  std::chrono::microseconds pause_{20};
};

bool is_done(MPI_Request& request) {
  int done = 0;
  MPI_Test(&request, &done, MPI_STATUS_IGNORE);
  return done != 0;
}

void wait_for(MPI_Request& request) {
  for (Patience patience; !is_done(request);) patience.rest();
}

struct Outgoing {
  explicit Outgoing(std::span<const double> message) : numbers(message.begin(), message.end()) {
    for (size_t first = 0, count = kPiece; count == kPiece; first += count) {
      count = std::min(kPiece, numbers.size() - first);
      MPI_Isend(numbers.data() + first, static_cast<int>(count), MPI_DOUBLE, /*dest=*/0, kTag,
                MPI_COMM_WORLD, &requests.emplace_back());
    }
  }

  bool is_sent() {
    int done = 0;
    MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE);
    return done != 0;
  }

  std::vector<double> numbers;
  std::vector<MPI_Request> requests;
};

// What comes from one rank, a piece at a time.
class Incoming {
 public:
  explicit Incoming(size_t source) : source_(static_cast<int>(source)) {}

  // A message, when the last of it is here.
  std::optional<std::vector<double>> poll() {
    for (;;) {
      if (request_ == MPI_REQUEST_NULL && !start()) return std::nullopt;
      if (!is_done(request_)) return std::nullopt;
      if (count_ < kPiece) return std::exchange(numbers_, {});
    }
  }

 private:
  bool start() {
    int there = 0;
    MPI_Status status;
    MPI_Iprobe(source_, kTag, MPI_COMM_WORLD, &there, &status);
    if (there == 0) return false;
    int count = 0;
    MPI_Get_count(&status, MPI_DOUBLE, &count);
    count_ = static_cast<size_t>(count);
    const size_t before = numbers_.size();
    numbers_.resize(before + count_);
    MPI_Irecv(numbers_.data() + before, count, MPI_DOUBLE, source_, kTag, MPI_COMM_WORLD,
              &request_);
    return true;
  }

  int source_;
  std::vector<double> numbers_;
  size_t count_ = 0;  // of the last piece
  MPI_Request request_ = MPI_REQUEST_NULL;
};

class MpiTeam : public Team {
 public:
  MpiTeam();
  ~MpiTeam() override;
  size_t rank() const override { return rank_; }
  size_t size() const override { return size_; }
  size_t size_here() const override { return size_here_; }
  void broadcast(std::vector<double>& numbers) override;
  void send(std::span<const double> numbers) override;
  std::optional<std::vector<double>> receive(bool wait) override;
  void end_all(int status) override { MPI_Abort(MPI_COMM_WORLD, status); }

 private:
  size_t rank_ = 0, size_ = 0, size_here_ = 0;
  int exceptions_ = std::uncaught_exceptions();
  std::list<Outgoing> outgoing_;
  std::vector<Incoming> incoming_;  // of the ranks from 1
  size_t turn_ = 0;                 // of whom rank 0 asks next
};

MpiTeam::MpiTeam() {
  int provided = 0, rank = 0, size = 0, here = 0;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Comm neighbours = MPI_COMM_NULL;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &neighbours);
  MPI_Comm_size(neighbours, &here);
  MPI_Comm_free(&neighbours);
  rank_ = static_cast<size_t>(rank);
  size_ = static_cast<size_t>(size);
  size_here_ = static_cast<size_t>(here);
  for (size_t source = 1; rank_ == 0 && source < size_; ++source) incoming_.emplace_back(source);
}

MpiTeam::~MpiTeam() {
  if (std::uncaught_exceptions() > exceptions_) return;  // the others will not come to this
  for (Outgoing& message : outgoing_) {
    for (MPI_Request& request : message.requests) wait_for(request);
  }
  MPI_Request everybody = MPI_REQUEST_NULL;
  MPI_Ibarrier(MPI_COMM_WORLD, &everybody);
  wait_for(everybody);
  MPI_Finalize();
}

void MpiTeam::broadcast(std::vector<double>& numbers) {
  MPI_Request request = MPI_REQUEST_NULL;
  uint64_t length = numbers.size();
  MPI_Ibcast(&length, 1, MPI_UINT64_T, /*root=*/0, MPI_COMM_WORLD, &request);
  wait_for(request);
  numbers.resize(length);
  for (size_t first = 0; first < length; first += kPiece) {
    const size_t count = std::min(kPiece, length - first);
    MPI_Ibcast(numbers.data() + first, static_cast<int>(count), MPI_DOUBLE, /*root=*/0,
               MPI_COMM_WORLD, &request);
    wait_for(request);
  }
}

void MpiTeam::send(std::span<const double> numbers) {
  std::erase_if(outgoing_, [](Outgoing& message) { return message.is_sent(); });
  outgoing_.emplace_back(numbers);
}

std::optional<std::vector<double>> MpiTeam::receive(bool wait) {
  for (Patience patience;; patience.rest()) {
    for (size_t asked = 0; asked < incoming_.size(); ++asked) {
      Incoming& next = incoming_[turn_++ % incoming_.size()];
      if (auto message = next.poll()) return message;
    }
    if (!wait) return std::nullopt;
  }
}

}  // namespace
}  // namespace isogloss

extern "C" isogloss::Team* isogloss_join_mpi_team() {
  return new isogloss::MpiTeam();
}
