/* SPDX-License-Identifier: MIT */
/*
 * mpi_iwrite FILE BLOCKS SIZE: every rank writes BLOCKS blocks of SIZE bytes with
 * MPI_File_iwrite_at, interleaved with those of the others, all in flight at once; reads those of
 * its neighbour with MPI_File_iread_at; does the same with MPI_File_iwrite and MPI_File_iread
 * through a strided view; rank 0 reads the file with pread.
 */
#include <mpi.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int rank, ranks, blocks, size;

static void check(int code, const char *call)
{
	char text[MPI_MAX_ERROR_STRING];
	int length;

	if (code == MPI_SUCCESS)
		return;
	MPI_Error_string(code, text, &length);
	fprintf(stderr, "rank %d: %s: %s\n", rank, call, text);
	MPI_Abort(MPI_COMM_WORLD, 1);
}

/* The byte at place i of a block: depends on who wrote it, which block and which round. */
static unsigned char expected(int writer, int block, int round, int i)
{
	return (unsigned char)(writer * 31 + block * 7 + round * 101 + i + (i >> 8));
}

static void fill(unsigned char *p, int writer, int block, int round)
{
	for (int i = 0; i < size; i++)
		p[i] = expected(writer, block, round, i);
}

static void compare(const unsigned char *p, int writer, int block, int round, const char *how)
{
	for (int i = 0; i < size; i++) {
		if (p[i] != expected(writer, block, round, i)) {
			fprintf(stderr,
				"rank %d: %s: block %d of rank %d, byte %d: %d, expected %d\n",
				rank, how, block, writer, i, p[i],
				expected(writer, block, round, i));
			MPI_Abort(MPI_COMM_WORLD, 1);
		}
	}
}

static void require_count(MPI_Status *status, const char *how)
{
	int count;

	MPI_Get_count(status, MPI_BYTE, &count);
	if (count % size != 0 || count == 0) {
		fprintf(stderr, "rank %d: %s: %d bytes transferred\n", rank, how, count);
		MPI_Abort(MPI_COMM_WORLD, 1);
	}
}

static MPI_Offset place(int writer, int block)
{
	return ((MPI_Offset)block * ranks + writer) * size;
}

static void finish(MPI_Request *requests, MPI_Status *statuses, const char *how)
{
	check(MPI_Waitall(blocks, requests, statuses), how);
	for (int b = 0; b < blocks; b++)
		require_count(&statuses[b], how);
}

/* Explicit offsets, one request per block. */
static void by_offset(MPI_File file, unsigned char *data, MPI_Request *requests,
		      MPI_Status *statuses)
{
	int other = (rank + 1) % ranks;

	for (int b = 0; b < blocks; b++) {
		fill(data + (size_t)b * size, rank, b, 0);
		check(MPI_File_iwrite_at(file, place(rank, b), data + (size_t)b * size, size,
					 MPI_BYTE, &requests[b]),
		      "MPI_File_iwrite_at");
	}
	finish(requests, statuses, "wait for MPI_File_iwrite_at");
	check(MPI_File_sync(file), "MPI_File_sync");
	MPI_Barrier(MPI_COMM_WORLD);
	for (int b = 0; b < blocks; b++)
		check(MPI_File_iread_at(file, place(other, b), data + (size_t)b * size, size,
					MPI_BYTE, &requests[b]),
		      "MPI_File_iread_at");
	finish(requests, statuses, "wait for MPI_File_iread_at");
	for (int b = 0; b < blocks; b++)
		compare(data + (size_t)b * size, other, b, 0, "MPI_File_iread_at");
	MPI_Barrier(MPI_COMM_WORLD);
}

static void set_view(MPI_File file, int writer, MPI_Datatype strided)
{
	check(MPI_File_set_view(file, place(writer, 0), MPI_BYTE, strided, "native", MPI_INFO_NULL),
	      "MPI_File_set_view");
}

/* One request for all blocks of a rank, through a view that skips those of the others; ends by
 * polling. */
static void by_view(MPI_File file, unsigned char *data)
{
	MPI_Datatype strided;
	MPI_Request request;
	MPI_Status status;
	int other = (rank + 1) % ranks, done = 0;

	MPI_Type_vector(blocks, size, size * ranks, MPI_BYTE, &strided);
	MPI_Type_commit(&strided);
	set_view(file, rank, strided);
	for (int b = 0; b < blocks; b++)
		fill(data + (size_t)b * size, rank, b, 1);
	check(MPI_File_iwrite(file, data, blocks * size, MPI_BYTE, &request), "MPI_File_iwrite");
	while (!done)
		check(MPI_Test(&request, &done, &status), "MPI_Test");
	require_count(&status, "MPI_File_iwrite");
	check(MPI_File_sync(file), "MPI_File_sync");
	MPI_Barrier(MPI_COMM_WORLD);
	set_view(file, other, strided);
	check(MPI_File_iread(file, data, blocks * size, MPI_BYTE, &request), "MPI_File_iread");
	check(MPI_Wait(&request, &status), "MPI_Wait");
	require_count(&status, "MPI_File_iread");
	for (int b = 0; b < blocks; b++)
		compare(data + (size_t)b * size, other, b, 1, "MPI_File_iread");
	MPI_Barrier(MPI_COMM_WORLD);
	MPI_Type_free(&strided);
}

/* What is in the file, without MPI and without AIO. */
static void by_pread(const char *name, unsigned char *data)
{
	int fd = open(name, O_RDONLY);

	for (int w = 0; w < ranks; w++) {
		for (int b = 0; b < blocks; b++) {
			if (pread(fd, data, (size_t)size, place(w, b)) != size) {
				fprintf(stderr, "short or failed pread\n");
				MPI_Abort(MPI_COMM_WORLD, 1);
			}
			compare(data, w, b, 1, "pread");
		}
	}
	close(fd);
}

int main(int argc, char **argv)
{
	MPI_File file;

	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	if (argc != 4 || (blocks = atoi(argv[2])) < 1 || (size = atoi(argv[3])) < 1) {
		fprintf(stderr, "usage: mpi_iwrite FILE BLOCKS SIZE\n");
		MPI_Abort(MPI_COMM_WORLD, 2);
	}
	unsigned char *data = malloc((size_t)blocks * size);
	MPI_Request *requests = malloc(blocks * sizeof *requests);
	MPI_Status *statuses = malloc(blocks * sizeof *statuses);
	if (!data || !requests || !statuses)
		MPI_Abort(MPI_COMM_WORLD, 2);

	check(MPI_File_open(MPI_COMM_WORLD, argv[1], MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL,
			    &file),
	      "MPI_File_open");
	by_offset(file, data, requests, statuses);
	by_view(file, data);
	check(MPI_File_close(&file), "MPI_File_close");
	if (rank == 0) {
		by_pread(argv[1], data);
		printf("contents checked by %d ranks\n", ranks);
	}
	free(statuses);
	free(requests);
	free(data);
	MPI_Finalize();
	return 0;
}
